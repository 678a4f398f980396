/**
 * Finds thresholds that keep a promise of agreement, on the model's own text, and leaves out exits and readings that cost
 * more than they save on this machine. Stores them in the checkpoint.
 */
import { setImmediate } from 'node:timers/promises';
import { userError } from '../../protocol/errors.ts';
import type { CalibrateEvent } from '../../protocol/events.ts';
import type { CalibrateOptions } from '../../protocol/options.ts';
import type { Mode } from '../../protocol/trace.ts';
import type { Tokenizer } from '../data/tokenizer.ts';
import { measureCosts } from '../decoding/costs.ts';
import { decode } from '../decoding/decode.ts';
import { fitGate, opens, type Gate } from '../decoding/gate.ts';
import {
  calibrate as findThresholds,
  leastChance,
  speedupOf,
  type Calibrated,
  type Costs,
  type ExitView,
} from '../evaluation/calibration.ts';
import { exitCut, exitId, type ExitSpec } from '../exits/spec.ts';
import type { Model } from '../model/open.ts';
import { compareCuts } from '../model/spec.ts';
import { placeExitScorer, placeFeatureModel, placeOn, placeStagedModel } from '../devices/fallback.ts';
import { chooseDevice } from '../devices/devices.ts';
import type { ExitSet } from '../runtime/open.ts';
import type { StagedModel } from '../runtime/staged-model.ts';
import { infoFile, saveCalibration, type StoredGate } from '../checkpoint/checkpoint.ts';
import type { Windows } from '../features/features.ts';
import { inStreamOrder, runtimeOptions, type Running } from './backbone.ts';
import { fullDepth, leastSpeedup, tryOut, type Candidate, type Trial } from './calibrate-trial.ts';
import { openWithTokenizer, readExits } from './opened.ts';
import { readText, windowsOf } from './text.ts';

/** Prompts are pieces of held-out text this long, and the model goes on for as long. */
const promptTokens = 64;
const newTokens = 64;
/** Prompts decoded at once. */
const batch = 8;

/** A text of the model: a prompt and what it said after it. */
interface Text {
  readonly prompt: readonly number[];
  readonly said: readonly number[];
}

/** What an exit said of every token, and the states it said it of. */
type Heard = ExitView & { readonly states: readonly Float32Array[] };

/** Thresholds that keep the promise, with their gates. */
type Promising = Candidate & Pick<Calibrated, 'agreement'>;
type Speedups = Extract<CalibrateEvent, { type: 'calibrated' }>['speedups'];

/** What was fastest by exits alone, if that is more than chance; else full depth. */
function fastest(candidates: readonly Promising[], { lossless, leaving }: Trial): Promising & { speedups: Speedups } {
  const none = { thresholds: {}, gates: new Map<string, Gate>(), agreement: 1 };
  return candidates
    .map((one, i) => ({ ...one, speedups: { ...leaving[i]!, lossless } }))
    .filter(({ speedups }) => speedups.exits >= leastSpeedup)
    .reduce((a, b) => (b.speedups.exits > a.speedups.exits ? b : a), {
      ...none,
      speedups: { exits: 1, fast: lossless, lossless },
    });
}

/** The mode for `auto`. Where two are as fast, the one that changes no text. */
function fastestMode({ fast, lossless }: Speedups, leaves: boolean): Mode {
  if (leaves && fast >= leastSpeedup * Math.max(1, lossless)) return 'fast';
  return lossless * leastSpeedup >= 1 ? 'lossless' : 'full';
}

/** @throws UserError for a model, checkpoint or text that cannot be used. */
export async function* calibrate(options: CalibrateOptions, signal: AbortSignal): AsyncGenerator<CalibrateEvent, void> {
  const directory = options.exits;
  if (directory === null)
    throw userError('bad-argument', 'There are no exits to calibrate.', 'Name them with --exits.');
  yield { type: 'phase', phase: 'load', detail: options.model };
  const { model, tokenizer } = openWithTokenizer(options.model);
  const closing: (() => void | Promise<void>)[] = [() => model.close()];
  try {
    const held = await readExits(directory, model, signal);
    const exits = inStreamOrder(held.specs);
    const device = await chooseDevice(options.device, signal);
    const warnings: string[] = [];
    const running: Running = {
      placement: placeOn(device, (message) => void warnings.push(message)),
      options: runtimeOptions(options),
    };
    const part = options.documents === 'all' ? 'train' : 'heldOut';
    const source = options.documents === 'all' ? { ...options, heldOutFraction: 0 } : options;
    const sets = yield* readText(source, tokenizer, model.spec.contextLength, [part], signal);
    closing.push(() => sets.close());
    const staged = await placeStagedModel(running.placement, model, held, running.options);
    closing.push(() => staged.dispose());
    const layers = model.spec.layers.length;
    yield {
      type: 'ready',
      model: model.name,
      layers,
      exits: exits.map((exit) => ({ exit: exitId(exit), layer: exit.layer })),
      device: device.name,
    };

    const prompts = promptsOf(windowsOf(sets, part), Math.ceil(options.calibrationTokens / newTokens));
    yield { type: 'phase', phase: 'generate', detail: `${prompts.length} continuations at full depth` };
    const texts: Text[] = [];
    for (let from = 0; from < prompts.length; from += batch) {
      texts.push(...(await continuations(staged, tokenizer, prompts.slice(from, from + batch))));
      yield { type: 'progress', phase: 'generate', done: texts.length, total: prompts.length, unit: 'prompts' };
      await setImmediate(); // let a cancellation in
      signal.throwIfAborted();
    }
    yield { type: 'phase', phase: 'evaluate', detail: 'what exits say of them, and what each costs here' };
    const heard = await hear(model, held, exits, staged, texts, running);
    const final = texts.flatMap(({ said }) => said);
    signal.throwIfAborted();
    const costs = await measureCosts(staged, { context: promptTokens + newTokens, rounds: 25 });
    const { agreement, certainty } = options;
    await closing.pop()!(); // the model cut everywhere; a trial opens others
    const found = findThresholds(heard, final, costs, { agreement, confidence: certainty });
    const candidates = found.map((one) => ({ ...one, gates: findGates(heard, final, costs, one.thresholds) }));
    const places = found.map(({ thresholds }) => `, leaving at ${Object.keys(thresholds).join(' and ')}`).join('');
    yield { type: 'phase', phase: 'generate', detail: `texts at full depth${places}, and with drafts, in turn` };
    const trial = await tryOut(model, held, running, tokenizer, prompts, candidates, signal);
    const { thresholds, gates, agreement: tested, speedups } = fastest(candidates, trial);
    const gated = heard.map((view) => withGate(view, gates.get(view.exit)));

    for (const message of warnings) yield { type: 'warning', message };
    saveCalibration(directory, {
      step: held.step,
      agreement,
      fastest: fastestMode(speedups, Object.keys(thresholds).length > 0),
      thresholds,
      gates: Object.fromEntries([...gates].map(([exit, gate]) => [exit, toStored(gate)])),
    });
    yield { type: 'saved', path: directory, files: [infoFile] };
    yield {
      type: 'calibrated',
      tokens: final.length,
      agreement,
      certainty,
      tested,
      exits: exits.map((exit, k) => ({
        exit: exitId(exit),
        layer: exit.layer,
        threshold: thresholds[exitId(exit)] ?? null,
        milliseconds: costs.readings[k]!,
      })),
      fastest: fastestMode(speedups, Object.keys(thresholds).length > 0),
      meanLayer: meanLayer(exits, gated, thresholds, layers, final.length),
      layers,
      speedups,
    };
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

/** Pieces of windows, spread over the whole text and apart from each other where there is enough of it. */
function promptsOf(windows: Windows, wanted: number): number[][] {
  const length = Math.min(promptTokens, windows.tokens - 1);
  const perWindow = Math.max(1, Math.floor(windows.tokens / (2 * length)));
  const places = windows.count * perWindow;
  const count = Math.min(wanted, places);
  return Array.from({ length: count }, (_, i) => {
    const place = Math.floor((i * places) / count);
    const { ids } = windows.window(Math.floor(place / perWindow));
    const start = (place % perWindow) * 2 * length;
    return [...ids.subarray(start, start + length)];
  });
}

/** What the model itself says after each prompt, at full depth. */
async function continuations(staged: StagedModel, tokenizer: Tokenizer, prompts: number[][]): Promise<Text[]> {
  const said: number[][] = prompts.map(() => []);
  const events = decode(staged, fullDepth(tokenizer, prompts, newTokens));
  for await (const event of events) if (event.type === 'token') said[event.token.sequence]!.push(event.token.id);
  return prompts.map((prompt, i) => ({ prompt, said: said[i]! }));
}

/** Reads every exit at every token that was said. */
async function hear(
  model: Model,
  held: ExitSet,
  exits: readonly ExitSpec[],
  staged: StagedModel,
  texts: readonly Text[],
  { placement, options }: Running,
): Promise<Heard[]> {
  const backbone = await placeFeatureModel(placement, model, exits.map(exitCut), options);
  const scorers = await Promise.all(
    exits.map((exit) => placeExitScorer(placement, model, exit, held.parameters, options)),
  );
  const heard = exits.map((exit) => ({
    exit: exitId(exit),
    stages: staged.exits.find(({ id }) => id === exitId(exit))!.stages,
    token: [] as number[],
    confidence: [] as number[],
    deferred: [] as number[],
    states: [] as Float32Array[],
  }));
  try {
    for (const { prompt, said } of texts) {
      // The token at place p is said of the state at p − 1.
      const ids = Int32Array.from([...prompt, ...said].slice(0, -1));
      const streams = await backbone.features(ids, 1, ids.length);
      for (const [k, exit] of exits.entries()) {
        const stream = streams[backbone.cuts.findIndex((cut) => compareCuts(cut, exitCut(exit)) === 0)]!;
        const scores = await scorers[k]!.score(stream, new Int32Array(ids.length), 1, ids.length);
        const width = stream.length / ids.length;
        for (let at = prompt.length - 1; at < ids.length; at++) {
          heard[k]!.token.push(scores.token[at]!);
          heard[k]!.confidence.push(scores.confidence[at]!);
          heard[k]!.deferred.push(Number(scores.deferred[at]!));
          heard[k]!.states.push(stream.slice(at * width, (at + 1) * width));
        }
      }
    }
  } finally {
    for (const scorer of scorers) await scorer.dispose();
    await backbone.dispose();
  }
  return heard;
}

/** Gates of exits that are left at, fitted on the first half of the tokens and kept where the second half gains by them. */
function findGates(
  heard: readonly Heard[],
  final: readonly number[],
  costs: Costs,
  thresholds: Readonly<Record<string, number>>,
): Map<string, Gate> {
  const gates = new Map<string, Gate>();
  const half = Math.floor(final.length / 2);
  for (const [k, view] of heard.entries()) {
    const threshold = thresholds[view.exit];
    if (threshold === undefined) continue;
    const leaves = Array.from(view.states, (_, i) => Number(!view.deferred[i] && view.confidence[i]! >= threshold));
    const gate = { ...fitGate(view.states.slice(0, half), leaves), least: leastChance(costs, k, view.stages) };
    const views = heard.map((other, n) => withGate(other, n === k ? gate : gates.get(other.exit)));
    const before = heard.map((other) => withGate(other, gates.get(other.exit)));
    if (speedupOf(views, final, costs, thresholds) > speedupOf(before, final, costs, thresholds))
      gates.set(view.exit, gate);
  }
  return gates;
}

const withGate = (view: Heard, gate: Gate | undefined): Heard =>
  gate ? { ...view, closed: Uint8Array.from(view.states, (state) => Number(!opens(gate, state))) } : view;

const toStored = ({ weights, bias, least }: Gate): StoredGate => ({
  weights: Buffer.from(weights.buffer, weights.byteOffset, weights.byteLength).toString('base64'),
  bias,
  least,
});

function meanLayer(
  exits: readonly ExitSpec[],
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
