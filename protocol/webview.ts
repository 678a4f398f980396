/**
 * The messages between the extension host and its webviews. A webview trusts nothing it receives: `readHostMessage` and `readViewMessage`
 * check the shape and return null for another one. Knows no editor and no DOM.
 */
import type { Trace } from './exittrace.ts';
import { isRecord } from './foreign.ts';
import type { Diagnosis, RunState } from './server.ts';

/** One number a step for each exit; the columns are as long as `steps`. A gap is null. */
export interface Columns {
  steps: number[];
  values: Record<string, (number | null)[]>;
}

export interface CurveRun {
  id: string;
  title: string;
  state: RunState;
  startedAt: string;
  step: number;
  steps: number;
  tokensPerSecond: number;
  /** Seconds that it has worked; null if it was not recorded. */
  spent: number | null;
  /** Seconds to its end; null if not known yet. */
  left: number | null;
  /** From 0 to 1; null if not known yet. */
  share: number | null;
  /** Whether minutes end it, so that its number of steps is a guess. */
  byMinutes: boolean;
  message: string;
}

/** How a run plans its minutes; all in seconds. */
export interface CurvePlan {
  total: number;
  evaluation: number;
  fit: number;
  updates: number;
  calibration: number;
}

/** The effect of one threshold for all exits, and the choice of a run's calibration. */
export interface Sweep {
  readonly rows: readonly { readonly threshold: number; readonly agreement: number; readonly speedup: number }[];
  /** Measured; null if no exit is used. */
  readonly chosen: { readonly agreement: number; readonly speedup: number } | null;
}

export type ExportFormat = 'svg' | 'png' | 'csv';

/** Host → webview. */
export type HostMessage =
  | { type: 'runs'; runs: CurveRun[] }
  /** More points of a run, in order. A run taken up again repeats steps: points at the first step here and beyond are replaced. */
  | { type: 'points'; run: string; training: Columns; gaps: Columns; heldOut: Columns; agreement: Columns }
  | { type: 'plan'; run: string; plan: CurvePlan }
  | { type: 'sweep'; run: string; sweep: Sweep }
  | { type: 'show'; run: string }
  | { type: 'doctor'; diagnosis: Diagnosis }
  /** `token` is the selected one; null: the selection stays. */
  | { type: 'trace'; title: string; trace: Trace; token: number | null };

/** Webview → host. */
export type ViewMessage =
  /** The webview can receive; it wants everything. */
  | { type: 'ready' }
  | { type: 'pause' | 'resume' | 'stop'; run: string }
  | { type: 'tune' }
  | { type: 'calibrate'; run: string }
  | { type: 'look' | 'logs' | 'restart' | 'copy' }
  /** Brings a part that the doctor missed. */
  | { type: 'install'; part: string }
  /** Opens the trace that is shown as a document. */
  | { type: 'open' }
  /** `data` is text, or base64 if the format is a bitmap. */
  | { type: 'export'; format: ExportFormat; name: string; data: string }
  | { type: 'reveal'; token: number }
  | { type: 'failed'; message: string };

/** Largest export that a webview may hand over: a picture of a large screen has a few million bytes. */
const MAX_EXPORT = 64 * 2 ** 20;

export function readHostMessage(value: unknown): HostMessage | null {
  if (!isRecord(value)) return null;
  switch (value.type) {
    case 'runs':
      return Array.isArray(value.runs) && value.runs.every(isCurveRun) ? (value as HostMessage) : null;
    case 'points': {
      const { run, training, gaps, heldOut, agreement } = value;
      const fits = isString(run) && [training, gaps, heldOut, agreement].every(isColumns);
      return fits ? (value as HostMessage) : null;
    }
    case 'plan':
      return isString(value.run) && isPlan(value.plan) ? (value as HostMessage) : null;
    case 'show':
      return isString(value.run) ? (value as HostMessage) : null;
    case 'sweep':
      return isString(value.run) && isSweep(value.sweep) ? (value as HostMessage) : null;
    case 'doctor':
      return isDiagnosis(value.diagnosis) ? (value as HostMessage) : null;
    case 'trace':
      return isString(value.title) && (value.token === null || isNumber(value.token)) && isTrace(value.trace)
        ? (value as HostMessage)
        : null;
    default:
      return null;
  }
}

export function readViewMessage(value: unknown): ViewMessage | null {
  if (!isRecord(value)) return null;
  switch (value.type) {
    case 'ready':
    case 'tune':
    case 'open':
    case 'look':
    case 'logs':
    case 'restart':
    case 'copy':
      return { type: value.type };
    case 'install':
      return isString(value.part) ? { type: 'install', part: value.part } : null;
    case 'calibrate':
    case 'pause':
    case 'resume':
    case 'stop':
      return isString(value.run) ? { type: value.type, run: value.run } : null;
    case 'export': {
      const { format, name, data } = value;
      const known = format === 'svg' || format === 'png' || format === 'csv';
      if (!known || !isString(name) || !isString(data) || data.length > MAX_EXPORT) return null;
      return { type: 'export', format, name, data };
    }
    case 'reveal':
      return isNumber(value.token) ? { type: 'reveal', token: value.token } : null;
    case 'failed':
      return isString(value.message) ? { type: 'failed', message: value.message } : null;
    default:
      return null;
  }
}

const states: readonly string[] = ['running', 'paused', 'stopped', 'finished', 'failed'] satisfies RunState[];

const isString = (value: unknown): value is string => typeof value === 'string';
const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);

const isCurveRun = (value: unknown): boolean =>
  isRecord(value) &&
  [value.id, value.title, value.startedAt, value.message].every(isString) &&
  [value.step, value.steps, value.tokensPerSecond].every(isNumber) &&
  [value.spent, value.left, value.share].every((each) => each === null || isNumber(each)) &&
  typeof value.byMinutes === 'boolean' &&
  isString(value.state) &&
  states.includes(value.state);

const isPlan = (value: unknown): boolean =>
  isRecord(value) && [value.total, value.evaluation, value.fit, value.updates, value.calibration].every(isNumber);

const isPoint = (value: unknown): boolean => isRecord(value) && [value.agreement, value.speedup].every(isNumber);

const isSweep = (value: unknown): boolean =>
  isRecord(value) &&
  Array.isArray(value.rows) &&
  value.rows.every((row) => isPoint(row) && isNumber((row as { threshold?: unknown }).threshold)) &&
  (value.chosen === null || isPoint(value.chosen));

const isDiagnosis = (value: unknown): boolean =>
  isRecord(value) &&
  isString(value.conclusion) &&
  Array.isArray(value.findings) &&
  value.findings.every(
    (each) =>
      isRecord(each) &&
      [each.name, each.state, each.detail].every(isString) &&
      (each.remedy === null || isString(each.remedy)),
  );

function isColumns(value: unknown): boolean {
  if (!isRecord(value) || !Array.isArray(value.steps) || !value.steps.every(isNumber)) return false;
  const { length } = value.steps;
  return (
    isRecord(value.values) &&
    Object.values(value.values).every(
      (column) =>
        Array.isArray(column) && column.length === length && column.every((each) => each === null || isNumber(each)),
    )
  );
}

const isTrace = (value: unknown): boolean =>
  isRecord(value) &&
  isNumber(value.layers) &&
  [value.model, value.policy, value.prompt].every(isString) &&
  Array.isArray(value.exits) &&
  value.exits.every(isString) &&
  Array.isArray(value.tokens) &&
  value.tokens.every(isToken);

const isToken = (value: unknown): boolean =>
  isRecord(value) &&
  isString(value.text) &&
  isString(value.exit) &&
  isNumber(value.layer) &&
  isNumber(value.confidence) &&
  (value.opinions === undefined || Array.isArray(value.opinions));
