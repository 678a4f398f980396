/** What a checkpoint keeps of a calibration, and reading it. Knows no runtime. */
import type { Brought, Figure } from '../../protocol/brought.ts';
import type { Promised } from '../../protocol/options/promise.ts';
import type { Mode } from '../../protocol/trace.ts';
import { shorten } from '../formats/safetensors.ts';
import { bad, isCount, isShare, record } from './fields.ts';

/** Thresholds found on held-out text. Valid only for the exits of the same step. */
export interface Calibration {
  readonly step: number;
  readonly promise: Promised;
  /** What leaving early brought and cost when it was calibrated; null if no exit is used, and in calibrations of earlier versions. */
  readonly brought: Brought | null;
  /** The default mode: the fastest of those that keep the promise, when it was calibrated. Mode `fast` leaves by `thresholds` in any case. */
  readonly fastest: Mode;
  /** What became of the layers that tokens skipped in the text that was judged; earlier versions knew `exact` alone. */
  readonly deferred: 'memory' | 'exact';
  /** The shallowest layer at which prompts may stop without losing too much; absent if they may stop at none. */
  readonly promptExit?: number;
  /** Whether it was made on chats, of which exits learn only answers: then the prompt of a text says nothing of them. */
  readonly learnedAnswers?: boolean;
  /** By exit id. */
  readonly thresholds: Readonly<Record<string, number>>;
  /** By exit id: when its head is worth reading; `weights` are float32, little-endian, in base64. */
  readonly gates: Readonly<Record<string, StoredGate>>;
  /** By exit id: how hints of the text change how sure it is, before its threshold is asked; absent in calibrations of earlier versions. */
  readonly hints?: Readonly<Record<string, HintWeights>>;
  /** By exit id: when tokens leave there with a clear hint of the text; absent in calibrations of earlier versions. */
  readonly trust?: Readonly<Record<string, StoredTrust>>;
}

/** Exits at which tokens leave. */
export const usedExits = ({ thresholds, trust = {} }: Pick<Calibration, 'thresholds' | 'trust'>): string[] => [
  ...new Set([...Object.keys(thresholds), ...Object.keys(trust)]),
];

/** By how many nats the log-odds of an exit's prediction rise by how it stands to the hint of the text (decoding/leaving/hints.ts). */
export interface HintWeights {
  readonly agrees: number;
  readonly agreesClearly: number;
  readonly contradicts: number;
  readonly contradictsClearly: number;
}

/** Of the log-odds that a clear hint is right, in nats (decoding/leaving/trust.ts). */
export interface TrustWeights {
  readonly always: number;
  /** Times what the stream says. */
  readonly trust: number;
  /** Times the logarithm of how many tokens before it stood alike, and of how many places say the same. */
  readonly matched: number;
  readonly votes: number;
}

export interface StoredTrust {
  /** Float32, little-endian, in base64. */
  readonly direction: string;
  readonly weights: TrustWeights;
  readonly least: number;
}

export interface StoredGate {
  readonly weights: string;
  readonly bias: number;
  readonly least: number;
}

const modes: readonly Mode[] = ['fast', 'lossless', 'full'];

/**
 * The fastest mode of a calibration from before `fastest` was stored: one that changes no text. Earlier versions promised only agreement.
 */
export function readCalibration(file: string, value: unknown): Calibration | null {
  if (value === null) return null;
  const {
    step,
    agreement,
    promise = { measure: 'agreement', limit: agreement },
    brought = null,
    fastest = 'lossless',
    deferred = 'exact',
    promptExit,
    learnedAnswers,
    thresholds,
    gates,
    hints,
    trust,
  } = record(file, value, '"calibration"');
  const byExit = record(file, thresholds, '"calibration.thresholds"');
  if (!isCount(step)) throw bad(file, '"calibration" has no step');
  const { measure, limit } = record(file, promise, '"calibration.promise"');
  if ((measure !== 'agreement' && measure !== 'regret') || !isShare(limit))
    throw bad(file, '"calibration" promises neither an agreement nor a regret from 0 to 1');
  for (const [exit, threshold] of Object.entries(byExit)) {
    if (!isShare(threshold)) throw bad(file, `the threshold of exit ${shorten(exit)} is not from 0 to 1`);
  }
  const mode = modes.find((name) => name === fastest);
  if (!mode) throw bad(file, `"calibration.fastest" is ${JSON.stringify(fastest)}, none of ${modes.join(', ')}`);
  if (deferred !== 'exact' && deferred !== 'memory')
    throw bad(file, `"calibration.deferred" is ${JSON.stringify(deferred)}, neither exact nor memory`);
  if (promptExit !== undefined && (!isCount(promptExit) || promptExit === 0))
    throw bad(file, '"calibration.promptExit" is no layer');
  if (learnedAnswers !== undefined && typeof learnedAnswers !== 'boolean')
    throw bad(file, '"calibration.learnedAnswers" is neither true nor false');
  return {
    step,
    ...(promptExit !== undefined && { promptExit }),
    ...(learnedAnswers !== undefined && { learnedAnswers }),
    promise: { measure, limit },
    brought: readBrought(file, brought),
    fastest: mode,
    deferred,
    thresholds: byExit as Record<string, number>,
    gates: readGates(file, gates ?? {}),
    ...(hints !== undefined && { hints: readHints(file, hints) }),
    ...(trust !== undefined && { trust: readTrust(file, trust) }),
  };
}

function readBrought(file: string, value: unknown): Brought | null {
  if (value === null) return null;
  const what = '"calibration.brought"';
  const { speedup, agreement, regret, machine, busy } = record(file, value, what);
  const figure = (of: unknown): Figure => {
    // JSON has null for an infinite number.
    const { value: mean, error } = record(file, of, what);
    if (!Number.isFinite(mean)) throw bad(file, `${what} has a figure that is no number`);
    return { value: mean as number, error: Number.isFinite(error) ? (error as number) : Infinity };
  };
  if (typeof machine !== 'string' || !Number.isFinite(busy))
    throw bad(file, `${what} does not name the machine that measured it`);
  const figures = { speedup: figure(speedup), agreement: figure(agreement), regret: figure(regret) };
  return { ...figures, machine, busy: busy as number };
}

function readGates(file: string, value: unknown): Record<string, StoredGate> {
  const byExit = record(file, value, '"calibration.gates"');
  const gates: Record<string, StoredGate> = {};
  for (const [exit, gate] of Object.entries(byExit)) {
    const { weights, bias, least } = record(file, gate, `the gate of exit ${shorten(exit)}`);
    if (typeof weights !== 'string' || !Number.isFinite(bias) || !isShare(least) || !areFloats(weights)) {
      throw bad(file, `the gate of exit ${shorten(exit)} is not whole`);
    }
    gates[exit] = { weights, bias: bias as number, least };
  }
  return gates;
}

function readHints(file: string, value: unknown): Record<string, HintWeights> {
  const weights = ([exit, given]: [string, unknown]): [string, HintWeights] => {
    const { agrees, agreesClearly, contradicts, contradictsClearly } = record(
      file,
      given,
      `the hints of exit ${shorten(exit)}`,
    );
    const all = { agrees, agreesClearly, contradicts, contradictsClearly };
    if (!Object.values(all).every(Number.isFinite)) throw bad(file, `the hints of exit ${shorten(exit)} are not whole`);
    return [exit, all as HintWeights];
  };
  return Object.fromEntries(Object.entries(record(file, value, '"calibration.hints"')).map(weights));
}

function readTrust(file: string, value: unknown): Record<string, StoredTrust> {
  const stored = ([exit, given]: [string, unknown]): [string, StoredTrust] => {
    const what = `the trust of exit ${shorten(exit)}`;
    const { direction, weights, least } = record(file, given, what);
    const { always, trust, matched, votes } = record(file, weights, what);
    const all = { always, trust, matched, votes };
    const isWhole = Object.values(all).every(Number.isFinite) && isShare(least);
    if (!isWhole || typeof direction !== 'string' || !areFloats(direction)) throw bad(file, `${what} is not whole`);
    return [exit, { direction, weights: all as TrustWeights, least }];
  };
  return Object.fromEntries(Object.entries(record(file, value, '"calibration.trust"')).map(stored));
}

/** Bytes of finite numbers of 32 bits, in base64. */
function areFloats(text: string): boolean {
  const bytes = Uint8Array.from(Buffer.from(text, 'base64'));
  return bytes.length > 0 && bytes.length % 4 === 0 && new Float32Array(bytes.buffer).every(Number.isFinite);
}
