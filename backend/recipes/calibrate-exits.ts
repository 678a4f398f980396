/**
 * Finds thresholds that keep a promise, on the model's own text, and leaves out exits and readings that cost more
 * than they save on this machine. Stores them in the checkpoint. Works on what a recipe has opened, within a budget of time.
 */
import { setImmediate } from 'node:timers/promises';
import type { Brought, Figure } from '../../protocol/brought.ts';
import type { CalibrateEvent } from '../../protocol/events.ts';
import { sweepThresholds } from '../../protocol/options-tasks.ts';
import type { Mode } from '../../protocol/trace.ts';
import { infoFile, saveCalibration } from '../checkpoint/checkpoint.ts';
import { storedGate } from '../checkpoint/gates.ts';
import type { Tokenizer } from '../data/tokenizer.ts';
import { measureCosts } from '../decoding/costs.ts';
import type { PassTable } from '../decoding/pace.ts';
import type { Position } from '../decoding/listen.ts';
import { placeStagedModel } from '../devices/fallback.ts';
import {
  calibrate as findThresholds,
  fewestTokens,
  outcomeOf,
  savedBy,
  type Costs,
  type ExitView,
} from '../evaluation/calibration.ts';
import { findGates, withGate, type Heard } from '../evaluation/gates.ts';
import type { Windows } from '../features/features.ts';
import type { Model } from '../model/open.ts';
import type { Running } from '../devices/fallback.ts';
import {
  newTokens,
  promptsOf,
  promptTokens,
  requireTokens,
  wantedTokens,
  writeTexts,
  type Asked,
} from '../evaluation/calibration-texts.ts';
import { allowedLoss, fewestJudged } from '../evaluation/promise.ts';
import { machineName } from '../evaluation/load.ts';
import { leastSpeedup, trialTexts, trialTokens, tryOut, type Candidate, type Trial } from '../evaluation/trial.ts';
import { judgePrompts } from '../evaluation/prompts.ts';
import { judgeWritten, type Judged } from '../evaluation/written.ts';
import { passesOf, type PassPlace } from './kept-passes.ts';
import type { OpenedExits } from './opened.ts';
import { counting } from './reporting.ts';

/** Passes whose time is measured. */
const costRounds = 15;

/** Where text is judged that a candidate writes, what is heard of the full model only chooses candidates. */
const fewestHeard = 768;
/** Time of a token that a candidate writes and the full model judges ÷ that of one that the full model writes, all exits heard. */
const judgingShare = 1.3;

/** What a calibration stands on. */
export interface Calibratable {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly running: Running;
  readonly place: PassPlace;
  /** Where the exits lie, and what was read there. */
  readonly directory: string;
  readonly held: OpenedExits;
  /** Held-out text, whose beginnings the model continues. */
  readonly windows: Windows;
}

/**
 * Calibrates and stores; within a budget, on fewer tokens. Ends without `calibrated` and with a warning where the budget is too
 * small for the promise.
 * @throws UserError if the model cannot run or the text is too little for the promise; the signal's reason if it was aborted.
 */
export async function* calibrateExits(
  on: Calibratable,
  asked: Asked,
  signal: AbortSignal,
): AsyncGenerator<CalibrateEvent, void> {
  const { model, held, running } = on;
  const began = performance.now();
  const elapsed = (): number => (performance.now() - began) / 1000;
  const layers = model.spec.layers.length;
  const { promise, certainty } = asked;
  // Texts may end early, at worst behind their first token.
  const prompts = promptsOf(on.windows, wantedTokens(asked));
  requireTokens(prompts.length * newTokens, fewestTokens(asked));

  yield { type: 'phase', phase: 'load', detail: 'the model cut at its exits' };
  const staged = await placeStagedModel(running.placement, model, held, running.options);
  const opening = elapsed();
  let costs: Costs;
  let passes: PassTable;
  let written: Position[];
  let heard: Heard[];
  let final: number[];
  let judged: Judged | null;
  let promptExit: number | null;
  try {
    yield { type: 'phase', phase: 'measure', detail: 'what layers and exits cost here' };
    const measuring = measureCosts(staged, { context: promptTokens + newTokens, rounds: costRounds });
    costs = yield* counting('measure', 'passes', measuring, signal);
    passes = await passesOf(staged, on.place);
    // The model is opened again to be tried out, once whole and once cut; drafts and exits make texts shorter than at full depth.
    const trial = 2 * opening + (1 + trialTexts.fewest) * trialTokens * 3.5 * (fullPass(costs) / 1000);
    const isJudged = held.remembers && allowedLoss(promise) > 0;
    const behind = (aToken: number): number => trial + (isJudged ? judgingShare * fewestJudged(asked) * aToken : 0);
    const fewest = isJudged ? Math.min(fewestHeard, fewestTokens(asked)) : fewestTokens(asked);
    // Half of the beginnings are left to be judged on.
    const room = isJudged ? Math.floor(prompts.length / 2) * newTokens : Infinity;
    const pace = { elapsed, behind, fewest, wanted: Math.min(wantedTokens(asked), room) };
    const texts = yield* writeTexts(on.tokenizer, staged, prompts, asked, pace, signal);
    if (texts === null) return;
    written = texts.flat();
    yield { type: 'phase', phase: 'evaluate', detail: 'how sure each exit must be' };
    await setImmediate();
    final = written.map(({ token }) => token);
    heard = viewsOf(staged.exits, written);
    const hasTime = (seconds: number): boolean => elapsed() + seconds + trial <= asked.seconds;
    const fresh = prompts.slice(texts.length);
    const judging = { tokenizer: on.tokenizer, staged, heard, costs, prompts: fresh, hasTime };
    judged = yield* judgeWritten(judging, asked, signal);
    promptExit = yield* judgePrompts(staged, on.windows, hasTime, signal);
  } finally {
    await staged.dispose();
  }
  const isFilled = judged !== null;
  const waiting: Costs = { stages: costs.stages, deferred: costs.deferred, readings: costs.readings };
  const candidates: Promising[] = judged ? [judged] : tested(heard, waiting, asked);
  signal.throwIfAborted();
  const places = candidates.map(({ thresholds }) => `, leaving at ${Object.keys(thresholds).join(' and ')}`).join('');
  yield { type: 'phase', phase: 'measure', detail: `texts at full depth, lossless${places}, in turn` };
  const racing = tryOut({ ...on, passes }, prompts, candidates, () => elapsed() > asked.seconds);
  const trial = yield* counting('measure', 'texts', racing, signal);
  const best = fastest(candidates, trial);
  const { thresholds, gates, speedups } = best;
  const brought = best.brought && { ...best.brought, machine: machineName(), busy: trial.busy };
  const gated = heard.map((view) => withGate(view, gates.get(view.exit)));

  saveCalibration(on.directory, {
    step: held.step,
    promise,
    brought,
    fastest: best.mode,
    deferred: isFilled ? 'memory' : 'exact',
    ...(promptExit !== null && { promptExit }),
    thresholds,
    gates: Object.fromEntries([...gates].map(([exit, gate]) => [exit, storedGate(gate)])),
  });
  yield { type: 'saved', path: on.directory, files: [infoFile] };
  yield {
    type: 'calibrated',
    tokens: final.length,
    promise,
    certainty,
    brought,
    sweep: sweepThresholds.map((threshold) => {
      const all = Object.fromEntries(heard.map(({ exit }) => [exit, threshold]));
      const { agreement, speedup } = outcomeOf(heard, isFilled ? costs : waiting, promise, all);
      return { threshold, agreement: agreement.value, speedup };
    }),
    exits: heard.map((view, k) => ({
      exit: view.exit,
      layer: staged.exits[k]!.layer,
      threshold: thresholds[view.exit] ?? null,
      milliseconds: costs.readings[k]!,
      saves: savedBy(isFilled ? costs : waiting, k, view.stages),
      agreement: final.filter((token, i) => written[i]!.said[k]!.token === token).length / final.length,
    })),
    meanLayer: meanLayer(staged.exits, gated, thresholds, layers, final.length),
    layers,
    fullDepth: fullPass(costs),
    speedups: { ...speedups, exits: outcomeOf(gated, isFilled ? costs : waiting, promise, thresholds).speedup },
    texts: trial.texts,
    fastest: best.mode,
    seconds: elapsed(),
  };
}

/** Milliseconds of a token at full depth. */
const fullPass = ({ stages, readings }: Costs): number => stages.reduce((sum, one) => sum + one, readings.at(-1)!);

/** What each exit said of every token of these texts, one text behind the other. */
function viewsOf(
  exits: readonly { readonly id: string; readonly stages: number }[],
  written: readonly Position[],
): Heard[] {
  return exits.slice(0, -1).map(({ id, stages }, k) => ({
    exit: id,
    stages,
    regret: written.map(({ said }) => said[k]!.regret),
    confidence: written.map(({ said }) => said[k]!.confidence),
    deferred: written.map(({ said }) => Number(said[k]!.token < 0)),
    states: written.map(({ said }) => said[k]!.state),
  }));
}

/** Thresholds that keep the promise, with their gates, and what the text that was judged says of them. */
type Promising = Candidate & Pick<Brought, 'agreement' | 'regret'>;

/** Those of the exact queue: what the full model wrote tells what it would have written. */
function tested(heard: readonly Heard[], costs: Costs, { promise, certainty }: Asked): Promising[] {
  return findThresholds(heard, costs, { promise, certainty }).map(({ thresholds }) => {
    const { gates, agreement, regret } = findGates(heard, costs, promise, thresholds);
    return { thresholds, gates, agreement, regret, remembers: false };
  });
}

interface Fastest extends Candidate {
  readonly mode: Mode;
  readonly brought: Pick<Brought, 'speedup' | 'agreement' | 'regret'> | null;
  readonly speedups: { readonly fast: number; readonly lossless: number };
}

/**
 * What `auto` is from now on: leaving where that is faster by more than chance than drafts alone, which change no text; else no exit
 * is asked.
 */
function fastest(candidates: readonly Promising[], { lossless, fast, beside, alone }: Trial): Fastest {
  const values = fast.map(({ value }) => value);
  const best = values.indexOf(Math.max(...values));
  const isFaster = ({ value, error }: Figure): boolean => value >= leastSpeedup && value > 1 + error;
  if (best >= 0 && isFaster(beside[best]!) && isFaster(fast[best]!)) {
    const { agreement, regret, ...candidate } = candidates[best]!;
    const brought = { speedup: alone[best]!, agreement, regret };
    return { ...candidate, mode: 'fast', brought, speedups: { fast: values[best]!, lossless: lossless.value } };
  }
  return {
    thresholds: {},
    gates: new Map(),
    remembers: false,
    mode: lossless.value * leastSpeedup >= 1 ? 'lossless' : 'full',
    brought: null,
    speedups: { fast: lossless.value, lossless: lossless.value },
  };
}

function meanLayer(
  exits: readonly { readonly layer: number }[],
  views: readonly ExitView[],
  thresholds: Readonly<Record<string, number>>,
  layers: number,
  tokens: number,
): number {
  let sum = 0;
  for (let i = 0; i < tokens; i++) {
    const k = views.findIndex(
      (v) => v.exit in thresholds && !v.closed?.[i] && !v.deferred[i] && v.confidence[i]! >= thresholds[v.exit]!,
    );
    sum += k === -1 ? layers : exits[k]!.layer;
  }
  return tokens ? sum / tokens : layers;
}
