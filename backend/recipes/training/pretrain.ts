/**
 * Trains a whole model further together with its exits, on this machine: the model's layers as TensorFlow.js code, compiled. For models
 * that fit; others are trained on PyTorch (elsewhere.ts). Each can resume the other's state.
 */
import path from 'node:path';
import { bytesText } from '../../../protocol/bytes-text.ts';
import { UserError, userError } from '../../../protocol/errors.ts';
import { plural } from '../../../protocol/plural.ts';
import type { EvaluationEvent, ExitScore, TuneEvent } from '../../../protocol/events.ts';
import { requireWeights, type TuneOptions } from '../../../protocol/options/options.ts';
import { openCheckpoint, type Checkpoint, type Progress, type StepState } from '../../checkpoint/checkpoint.ts';
import { parametersFile } from '../../formats/our-folders.ts';
import { openBest, writeBest } from '../../checkpoint/continued.ts';
import type { ReservedFolder } from '../../checkpoint/reserved-folder.ts';
import type { TrainingPosition } from '../../checkpoint/state.ts';
import { createCheckpoint } from '../../checkpoint/writer.ts';
import { chooseDevice, machine } from '../../devices/devices.ts';
import { placeOn } from '../../devices/fallback.ts';
import { needsOf } from '../../devices/fit.ts';
import { checkShapes, exitParameters } from '../../exits/parameters.ts';
import { exitId, type ExitSpec } from '../../exits/spec.ts';
import type { Windows } from '../../features/features.ts';
import { multipliedSize } from '../../model/expected-parameters.ts';
import { requireWholeEngine } from '../../tuning/needs-onnx.ts';
import { exitWeightsAt, learningRateAt, learningRateOf } from '../../tuning/schedule.ts';
import { train, type TrainerParts, type TrainerResult, type TrainerSettings } from '../../tuning/trainer.ts';
import { finalId, wholeBytes } from '../../tuning/whole/graph.ts';
import { createWholeStep, Diverged, type WindowBatch } from '../../tuning/whole/step.ts';
import { windowOptions } from '../opening/backbone.ts';
import { exitsToContinue, publish, requireContinuable, requireCpu, requireRoom } from './continued.ts';
import { continuedText } from '../calibrating/measured-text.ts';
import { identify, openWithTokenizer } from '../opening/opened.ts';
import { findText, readText, windowsOf } from '../text.ts';
import { warnUncalibrated } from '../calibrating/calibrate-short.ts';
import { readyEvent } from '../reporting.ts';
import {
  claimFolder,
  firstPosition,
  resumeRun,
  settingOf,
  trainingRun,
  type Earlier,
  type Learner,
  type Resumed,
  type RunSetting,
  type Sitting,
} from './training-run.ts';
import { endOf, furtherEnd, optionsText, resumedEnd } from './options.ts';
import {
  openWhole,
  scoresOf,
  storedValues,
  tensorsOf,
  trainedNumbers,
  wholeKeeping,
  wholeLoss,
  type Whole,
} from './whole-model.ts';

type Values = ReadonlyMap<string, Float32Array>;

/**
 * @throws UserError for a model, exits, text or folder that cannot be used; the signal's reason if it was aborted before there was anything
 * to keep. If it is aborted later, it keeps its work and ends with `tuned`, `stopped: true`.
 */
export const pretrain = (given: TuneOptions, signal: AbortSignal): AsyncGenerator<TuneEvent, void> =>
  trainingRun(given, signal, learnWhole);

const learnWhole: Learner = async function* (sitting, signal) {
  const { given, elapsed, atEnd } = sitting;
  const setting = settingOf(given);
  const { options, directory, earlier } = setting;
  requireCpu(options);
  requireWholeEngine();
  yield* warnUncalibrated(options);
  if (!earlier) requireRoom(directory);
  const folder = claimFolder(setting, sitting);
  const parts = yield* openParts(options, earlier, atEnd, signal);
  const { whole, exits, windows, evaluate } = parts;
  const run = folder ? yield* begin(parts, setting, folder, elapsed, signal) : goOn(parts, earlier!, given);
  // The folder stays locked by this process until the new model is there.
  atEnd(() => run.checkpoint.close());
  const step = createWholeStep({
    spec: whole.model.spec,
    exits,
    model: whole.model.parameters,
    places: whole.places,
    state: run.state,
    shapes: whole.shapes,
    objective: options,
    optimiser: options,
    batch: options.batchSize,
    tokens: windows.tokens,
    ...(options.threads > 0 && { threads: options.threads }),
  });
  atEnd(() => step.dispose());
  yield { type: 'phase', phase: 'tune', detail: `${plural(windows.count, 'window')}, the whole model on the CPU` };
  const training: TrainerParts<WindowBatch> = {
    step,
    source: batchesOf(windows),
    checkpoint: run.checkpoint,
    evaluate,
    keeping: wholeKeeping(whole, exits, run.saved),
  };
  const limits = earlier ? resumedEnd(options, given, earlier.position, windows.count) : endOf(options);
  const settings = { ...settingsOf(exits, options, whole.model.spec), limits };
  const from = { ...run.position, seconds: (earlier?.position.seconds ?? 0) + elapsed() };
  const { position, stopped } = yield* orPublished(train(training, settings, from, signal), directory);
  const model = await publish(directory);
  const { before, seconds } = position;
  const after = savedProgress(directory).scores;
  const { data } = options;
  const ended = { step: position.step, before: [...before], after: [...after], seconds, stopped, whole: true };
  return { ...ended, directory, model, newModel: model, data };
};

interface Parts {
  readonly whole: Whole;
  readonly exits: readonly ExitSpec[];
  /** The checkpoint whose exits the run begins with, or resumes. */
  readonly start: Checkpoint;
  readonly windows: Windows;
  readonly heldOut: Windows;
  readonly evaluate: (values: Values) => Promise<ExitScore[]>;
}

async function* openParts(
  options: TuneOptions,
  earlier: Earlier | null,
  atEnd: Sitting['atEnd'],
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, Parts> {
  const found = findText(options.data);
  yield { type: 'phase', phase: 'load', detail: options.model };
  const { model, tokenizer } = openWithTokenizer(options.model);
  atEnd(() => model.close());
  requireContinuable(model);
  const start = earlier
    ? openCheckpoint(earlier.directory, null)
    : exitsToContinue(options, await identify(model, signal));
  atEnd(() => start.close());
  const { exits } = start;
  requireWeights(options.exitWeights, exits.length);
  const expected = exits.flatMap((exit) => exitParameters(model.spec, exit, model.parameters));
  checkShapes(expected, start.shapes, path.join(start.directory, parametersFile));
  const whole = openWhole(model, expected);
  const tokens = Math.min(options.sequenceLength, model.spec.contextLength);
  requireMemory(model.name, wholeBytes(model.spec, trainedNumbers(whole), options.batchSize, tokens));
  const device = await chooseDevice({ ...options, device: 'cpu' }, needsOf(model, true), signal);
  yield readyEvent(model, exits, device.name);
  if (!earlier) for (const message of continuedText(options, start.tuning)) yield { type: 'warning', message };
  const sets = yield* readText(found, options, tokenizer, model.spec, ['train', 'heldOut'], signal);
  atEnd(() => sets.close());
  const heldOut = windowsOf(sets, 'heldOut', earlier?.heldOutTokens ?? options.evaluationTokens);
  // No device can be lost during the run: it computes on the CPU.
  const placement = placeOn(device, () => {});
  const running = { placement, options: windowOptions({ precision: 'exact', threads: options.threads }) };
  const evaluate = (values: Values): Promise<ExitScore[]> =>
    scoresOf(whole, values, exits, heldOut, running, options.batchSize);
  return { whole, exits, start, windows: windowsOf(sets, 'train'), heldOut, evaluate };
}

/** @throws UserError `out-of-memory` before any is taken. */
export function requireMemory(name: string, takes: number, memory = machine.memory()): void {
  if (takes <= memory) return;
  throw userError(
    'out-of-memory',
    `Training all of ${name} takes ${bytesText(takes)} of memory here, and this machine has ${bytesText(memory)}.`,
    'Take a smaller --batch-size or --sequence-length, or train it in PyTorch with more memory (--on).',
  );
}

/** A run that is ready to go. */
interface Run extends Resumed {
  /** Of the best values on disk. */
  readonly saved: Progress;
}

async function* begin(
  { whole, exits, start, windows, heldOut, evaluate }: Parts,
  { options, directory }: RunSetting,
  folder: ReservedFolder,
  elapsed: () => number,
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, Run> {
  const ofExits = [...start.shapes.keys()].map((name) => [name, start.values(name)] as const);
  const parameters = new Map([...storedValues(whole), ...ofExits]);
  const zeros = (): Map<string, Float32Array> =>
    new Map([...parameters].map(([name, { length }]) => [name, new Float32Array(length)]));
  const state: StepState = { updates: 0, parameters, firstMoments: zeros(), secondMoments: zeros() };
  yield { type: 'phase', phase: 'evaluate', detail: 'before training' };
  const before = await evaluate(parameters);
  // Until here there is nothing to keep.
  signal.throwIfAborted();
  const evaluation: EvaluationEvent = { type: 'evaluation', step: 0, tokens: 0, scores: before, best: true };
  const saved: Progress = {
    step: 0,
    tokens: 0,
    scores: before,
    ...(start.progress.origins && { origins: start.progress.origins }),
  };
  const heldOutTokens = heldOut.count * heldOut.tokens;
  const numbers = { backbone: 0, whole: multipliedSize(whole.model.spec), trained: trainedNumbers(whole) };
  const position: TrainingPosition = {
    ...firstPosition({ before, best: wholeLoss(before), data: windows.hash, heldOutTokens }, elapsed()),
    cost: { numbers, peakBytes: 0 },
  };
  yield { type: 'phase', phase: 'save', detail: directory };
  const tuning = { ...optionsText(options), model: path.resolve(whole.model.path) };
  const checkpoint = createCheckpoint(
    directory,
    {
      info: { base: start.base, exits, tuning, calibration: null },
      shapes: whole.shapes,
      state,
      progress: saved,
      position,
      metrics: [{ ...evaluation }],
      whole: () => writeBest(directory, tensorsOf(whole, parameters), saved),
    },
    folder,
  );
  yield evaluation;
  return { checkpoint, state, position, saved };
}

function goOn({ whole, windows }: Parts, earlier: Earlier, given: TuneOptions): Run {
  const saved = savedProgress(earlier.directory);
  const end = furtherEnd(given, earlier.position, windows.count);
  return { ...resumeRun(earlier, whole.shapes, saved, windows.hash, end), saved };
}

/** @throws UserError if the run diverges; what it learned until then is published first. */
async function* orPublished(
  training: AsyncGenerator<TuneEvent, TrainerResult>,
  directory: string,
): AsyncGenerator<TuneEvent, TrainerResult> {
  try {
    return yield* training;
  } catch (error) {
    const reason = divergence(error);
    if (reason === null) throw error;
    const { step } = savedProgress(directory);
    const kept = step > 0 ? ` ${await publish(directory)} has the best values, of update ${step}.` : '';
    throw userError(
      'bad-argument',
      `The training diverges: ${reason}.${kept}`,
      'Begin another run with a smaller --backbone-learning-rate or --learning-rate.',
      error,
    );
  }
}

/** In what an error of training shows that it diverges; null for another error. */
function divergence(error: unknown): string | null {
  if (error instanceof Diverged) return error.message;
  // The weights that it began with have been evaluated.
  return error instanceof UserError && error.code === 'bad-weights' ? 'a state of the model is not finite' : null;
}

/** Of the best values of a run. */
function savedProgress(directory: string): Progress {
  const { progress, source } = openBest(directory);
  source.close();
  return progress;
}

const batchesOf = (windows: Windows): TrainerParts<WindowBatch>['source'] => ({
  windows,
  async batch(indices) {
    const { tokens } = windows;
    const ids = new Int32Array(indices.length * tokens);
    const targets = new Int32Array(indices.length * tokens);
    indices.forEach((index, row) => {
      const window = windows.window(index);
      ids.set(window.ids, row * tokens);
      targets.set(window.targets, row * tokens);
    });
    return { batch: indices.length, tokens, ids, targets };
  },
});

function settingsOf(
  exits: readonly ExitSpec[],
  options: TuneOptions,
  spec: { readonly hidden: number },
): Omit<TrainerSettings, 'limits'> {
  const ids = exits.map(exitId);
  const ofExits = learningRateOf(options, spec);
  const { backboneLearningRate: own } = options;
  return {
    batch: options.batchSize,
    accumulation: options.accumulation,
    seed: options.seed,
    settings: (update, updates) => {
      const weights = exitWeightsAt(options.exitWeights, ids.length, update, updates);
      const rateOf = (learningRate: number, finalLearningRate: number): number =>
        learningRateAt({ ...options, learningRate, finalLearningRate }, update, updates);
      return {
        learningRate: rateOf(ofExits, options.finalLearningRate),
        backboneLearningRate: rateOf(own, own / 10),
        exitWeights: new Map([...ids.map((id, i) => [id, weights[i]!] as const), [finalId, 1]]),
      };
    },
    evaluateEvery: options.evaluateEvery,
  };
}
