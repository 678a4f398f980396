/**
 * Finds thresholds that keep a promise of agreement, on the model's own text, and leaves out exits and readings that cost more
 * than they save on this machine. Stores them in the checkpoint. Works on what a recipe has opened, within a budget of time.
 */
import { plural } from '../../protocol/plural.ts';
import { setImmediate } from 'node:timers/promises';
import { userError } from '../../protocol/errors.ts';
import type { CalibrateEvent } from '../../protocol/events.ts';
import type { Mode } from '../../protocol/trace.ts';
import { infoFile, saveCalibration, type StoredGate } from '../checkpoint/checkpoint.ts';
import type { Tokenizer } from '../data/tokenizer.ts';
import { measureCosts } from '../decoding/costs.ts';
import type { Gate } from '../decoding/gate.ts';
import { listen, type Position } from '../decoding/listen.ts';
import { placeStagedModel } from '../devices/fallback.ts';
import {
  calibrate as findThresholds,
  fewestTokens,
  outcomeOf,
  savedBy,
  type Calibrated,
  type Costs,
  type ExitView,
} from '../evaluation/calibration.ts';
import { findGates, withGate, type Heard } from '../evaluation/gates.ts';
import type { Windows } from '../features/features.ts';
import type { Model } from '../model/open.ts';
import type { StagedModel } from '../runtime/staged-model.ts';
import type { Running } from './backbone.ts';
import { leastSpeedup, trialTexts, trialTokens, tryOut, type Candidate, type Trial } from './calibrate-trial.ts';
import type { OpenedExits } from './opened.ts';
import { counting } from './reporting.ts';

/** Prompts are pieces of held-out text this long, and the model goes on for so long. */
const promptTokens = 48;
const newTokens = 64;
/** Prompts written on at once, at most. */
const largestBatch = 32;
/** Passes whose time is measured. */
const costRounds = 15;

/** What a calibration stands on. */
export interface Calibratable {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly running: Running;
  /** Where the exits lie, and what was read there. */
  readonly directory: string;
  readonly held: OpenedExits;
  /** Held-out text, whose beginnings the model continues. */
  readonly windows: Windows;
}

export interface Promised {
  /** Least share of tokens that agree with the full model, and how certain that is. */
  readonly agreement: number;
  readonly certainty: number;
  /** Tokens to calibrate on, at least. */
  readonly tokens: number;
  /** Seconds that all of it may take; what does not fit into them is left out, the promise is not. */
  readonly seconds: number;
}

/**
 * Calibrates and stores; within a budget, on fewer tokens. Ends without `calibrated` and with a warning where the budget is too
 * small for the promise.
 * @throws UserError where the model cannot run or the text is too little for the promise; the signal's reason where it was aborted.
 */
export async function* calibrateExits(
  on: Calibratable,
  promise: Promised,
  signal: AbortSignal,
): AsyncGenerator<CalibrateEvent, void> {
  const { model, held, running } = on;
  const began = performance.now();
  const elapsed = (): number => (performance.now() - began) / 1000;
  const layers = model.spec.layers.length;
  // Texts may end early, at worst behind their first token.
  const prompts = promptsOf(on.windows, wantedTokens(promise));
  requireTokens(prompts.length * newTokens, promise);

  yield { type: 'phase', phase: 'load', detail: 'the model cut at its exits' };
  const staged = await placeStagedModel(running.placement, model, held, running.options);
  const opening = elapsed();
  let costs: Costs;
  let texts: Position[][] | null;
  try {
    yield { type: 'phase', phase: 'measure', detail: 'what layers and exits cost here' };
    const measuring = measureCosts(staged, { context: promptTokens + newTokens, rounds: costRounds });
    costs = yield* counting('measure', 'passes', measuring, signal);
    // The model is opened again to be tried out, once whole and once cut; drafts and exits make texts shorter than at full depth.
    const trial = 2 * opening + (1 + trialTexts.fewest) * trialTokens * 2.5 * (fullPass(costs) / 1000);
    texts = yield* write(on, staged, prompts, promise, { elapsed, trial }, signal);
  } finally {
    await staged.dispose();
  }
  if (texts === null) return;
  const written = texts.flat();

  yield { type: 'phase', phase: 'evaluate', detail: 'how sure each exit must be' };
  await setImmediate();
  const final = written.map(({ token }) => token);
  const heard = viewsOf(staged.exits, written);
  const found = findThresholds(heard, final, costs, { agreement: promise.agreement, confidence: promise.certainty });
  const candidates = found.map((one) => ({ ...one, ...findGates(heard, final, costs, one.thresholds) }));
  signal.throwIfAborted();
  const places = candidates.map(({ thresholds }) => `, leaving at ${Object.keys(thresholds).join(' and ')}`).join('');
  yield { type: 'phase', phase: 'measure', detail: `texts at full depth, lossless${places}, in turn` };
  const racing = tryOut(on, prompts, candidates, () => elapsed() > promise.seconds);
  const trial = yield* counting('measure', 'texts', racing, signal);
  const best = fastest(candidates, trial);
  const { thresholds, gates, speedups } = best;
  const gated = heard.map((view) => withGate(view, gates.get(view.exit)));

  saveCalibration(on.directory, {
    step: held.step,
    agreement: promise.agreement,
    fastest: best.mode,
    thresholds,
    gates: Object.fromEntries([...gates].map(([exit, gate]) => [exit, toStored(gate)])),
  });
  yield { type: 'saved', path: on.directory, files: [infoFile] };
  yield {
    type: 'calibrated',
    tokens: final.length,
    agreement: promise.agreement,
    certainty: promise.certainty,
    tested: best.agreement,
    exits: heard.map((view, k) => ({
      exit: view.exit,
      layer: staged.exits[k]!.layer,
      threshold: thresholds[view.exit] ?? null,
      milliseconds: costs.readings[k]!,
      saves: savedBy(costs, view.stages),
      agreement: final.filter((token, i) => view.token[i] === token).length / final.length,
    })),
    meanLayer: meanLayer(staged.exits, gated, thresholds, layers, final.length),
    layers,
    fullDepth: fullPass(costs),
    speedups: { ...speedups, exits: outcomeOf(gated, final, costs, thresholds).speedup },
    texts: trial.texts,
    fastest: best.mode,
    seconds: elapsed(),
  };
}

/** Milliseconds of a token at full depth. */
const fullPass = ({ stages, readings }: Costs): number => stages.reduce((sum, one) => sum + one, readings.at(-1)!);

/** A strict promise takes more tokens than were asked for. */
const wantedTokens = (promise: Promised): number => Math.max(promise.tokens, fewestTokens(promise));

/**
 * The full model's texts with what exits say of them, until there are as many tokens as wanted or the time is over. When to stop is
 * decided by these alone, never by what exits said, so that a promise tested on them holds. Null where the time is too short.
 */
async function* write(
  { tokenizer }: Calibratable,
  staged: StagedModel,
  prompts: readonly (readonly number[])[],
  promise: Promised,
  { elapsed, trial }: { readonly elapsed: () => number; readonly trial: number },
  signal: AbortSignal,
): AsyncGenerator<CalibrateEvent, Position[][] | null> {
  const fewest = fewestTokens(promise);
  const total = Math.min(wantedTokens(promise), prompts.length * newTokens);
  yield {
    type: 'phase',
    phase: 'generate',
    detail: `${plural(textsOf(total), 'text')} at full depth, all exits heard`,
  };
  // Where time is short, smaller batches leave more choice when to stop.
  const size = Math.min(textsOf(total), Number.isFinite(promise.seconds) ? largestBatch / 2 : largestBatch);
  const texts: Position[][] = [];
  let heard = 0;
  const marks: number[] = [elapsed()];
  while (heard < total && texts.length < prompts.length) {
    const batch = prompts.slice(texts.length, texts.length + Math.min(size, textsOf(total - heard)));
    const listening = listen(staged, batch, newTokens, tokenizer.eosIds);
    let next = await listening.next();
    for (; !next.done; next = await listening.next()) {
      const done = Math.min(total, heard + next.value.done * batch.length);
      yield { type: 'progress', phase: 'generate', done, total, unit: 'tokens' };
      await setImmediate(); // let a cancellation in
      signal.throwIfAborted();
      if (marks.push(elapsed()) !== measuredPasses + 1) continue;
      const [start, first, last] = [marks[0]!, marks[1]!, marks.at(-1)!];
      const aBatch = first - start + ((newTokens - 1) * (last - first)) / (measuredPasses - 1);
      const until = (tokens: number): number => start + aBatch * Math.ceil(tokens / (size * newTokens)) + trial;
      if (until(fewest) > promise.seconds) {
        yield { type: 'warning', message: tooLittleTime(promise.seconds, until(fewest)) };
        return null;
      }
      yield { type: 'expected', seconds: Math.min(until(total), promise.seconds) };
    }
    texts.push(...next.value);
    heard = texts.flat().length;
    const soonest = elapsed() + (size * (elapsed() - marks[0]!)) / texts.length + trial;
    if (soonest <= promise.seconds) continue;
    if (heard >= fewest) break;
    yield { type: 'warning', message: tooLittleTime(promise.seconds, soonest) };
    return null;
  }
  requireTokens(heard, promise);
  return texts;
}

/** How many texts have so many tokens where none ends early. */
const textsOf = (tokens: number): number => Math.ceil(tokens / newTokens);

/** Passes of the first batch, that of its prompts among them, after which the time of the rest is known. */
const measuredPasses = 8;

function requireTokens(tokens: number, promise: Promised): void {
  const fewest = fewestTokens(promise);
  if (tokens >= fewest) return;
  const problem = `The held-out text gives ${plural(tokens, 'token')} to calibrate on, and this promise takes at least ${fewest}.`;
  throw userError('bad-data', problem, 'Give more text, or ask for less agreement or certainty.');
}

const tooLittleTime = (seconds: number, least: number): string =>
  `The exits are not calibrated: here that takes at least ${Math.ceil(least)} s, and ${Math.max(0, Math.round(seconds))} s are left.`;

/** What each exit said of every token of these texts, one text behind the other. */
function viewsOf(
  exits: readonly { readonly id: string; readonly stages: number }[],
  written: readonly Position[],
): Heard[] {
  return exits.slice(0, -1).map(({ id, stages }, k) => ({
    exit: id,
    stages,
    token: written.map(({ said }) => said[k]!.token),
    confidence: written.map(({ said }) => said[k]!.confidence),
    deferred: written.map(({ said }) => Number(said[k]!.token < 0)),
    states: written.map(({ said }) => said[k]!.state),
  }));
}

/** Thresholds that keep the promise, with their gates. */
type Promising = Candidate & Pick<Calibrated, 'agreement'>;

/**
 * What `auto` is from now on: leaving where that is faster by more than chance than drafts alone, which change no text; else no exit
 * is asked.
 */
function fastest(
  candidates: readonly Promising[],
  { lossless, fast }: Trial,
): Promising & { readonly mode: Mode; readonly speedups: { readonly fast: number; readonly lossless: number } } {
  const best = fast.indexOf(Math.max(...fast));
  if (best >= 0 && fast[best]! >= leastSpeedup * Math.max(1, lossless))
    return { ...candidates[best]!, mode: 'fast', speedups: { fast: fast[best]!, lossless } };
  const mode = lossless * leastSpeedup >= 1 ? 'lossless' : 'full';
  return { thresholds: {}, gates: new Map(), agreement: 1, mode, speedups: { fast: lossless, lossless } };
}

/**
 * Pieces of windows, at most `most` of them, apart from each other where there is enough text. However few of the first are taken,
 * they are spread over the whole of it.
 */
function promptsOf(windows: Windows, most: number): number[][] {
  const length = Math.min(promptTokens, windows.tokens - 1);
  const perWindow = Math.max(1, Math.floor(windows.tokens / (2 * length)));
  const places = windows.count * perWindow;
  const count = Math.min(most, places);
  // Numbers by the fraction of their multiple of the golden ratio: every beginning of that order is spread evenly.
  const fraction = (i: number): number => ((i * (1 + Math.sqrt(5))) / 2) % 1;
  const order = Array.from({ length: count }, (_, i) => i).sort((a, b) => fraction(a) - fraction(b));
  return order.map((i) => {
    const place = Math.floor((i * places) / count);
    const { ids } = windows.window(Math.floor(place / perWindow));
    const start = (place % perWindow) * 2 * length;
    return [...ids.subarray(start, start + length)];
  });
}

const toStored = ({ weights, bias, least }: Gate): StoredGate => ({
  weights: Buffer.from(weights.buffer, weights.byteOffset, weights.byteLength).toString('base64'),
  bias,
  least,
});

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
