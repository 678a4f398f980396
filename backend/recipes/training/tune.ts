/** Attaches exits to a frozen model, tunes them on text and writes them; or resumes an interrupted run. */
import { plural } from '../../../protocol/plural.ts';
import { UserError, userError } from '../../../protocol/errors.ts';
import type { ExitScore, TuneEvent } from '../../../protocol/events.ts';
import type { TuneOptions } from '../../../protocol/options/options.ts';
import { exitId } from '../../exits/spec.ts';
import type { RunLimits, TrainingPosition } from '../../checkpoint/state.ts';
import { createCheckpoint, type CheckpointWriter, type NewCheckpoint } from '../../checkpoint/writer.ts';
import { chooseExitDevice, type ExitDevice } from '../../devices/devices.ts';
import { openCheckpoint, type Progress } from '../../checkpoint/checkpoint.ts';
import { writeMemories } from '../../checkpoint/memory.ts';
import type { ReservedFolder } from '../../checkpoint/reserved-folder.ts';
import { requireEngine } from '../../tuning/needs-onnx.ts';
import { largestFitShare } from '../../tuning/plan.ts';
import { exitWeightsAt, learningRateAt, learningRateOf } from '../../tuning/schedule.ts';
import { improvedExits, meanLoss, parametersOf, withImproved } from '../../tuning/best.ts';
import { hasTime } from '../../tuning/pace.ts';
import { train, type TrainerResult, type TrainerSettings } from '../../tuning/trainer.ts';
import { openPlacedStep, type PlacedStep } from '../../tuning/step/open.ts';
import { calibrateShort, warnUncalibrated } from '../calibrating/calibrate-short.ts';
import { fitExits, plainExits, type Fitted } from './initial-values.ts';
import {
  claimFolder,
  firstPosition,
  openInfo,
  readEarlier,
  resumeRun,
  settingOf,
  trainingRun,
  type Earlier,
  type Learner,
  type Trained,
} from './training-run.ts';
import { endOf, furtherEnd, optionsText, resumedEnd } from './options.ts';
import { heldOutReading, numbersOf, openParts, type TuneParts } from './parts.ts';
import { calibrationLimit } from './plan.ts';
import { withWarnings } from './warnings.ts';

/**
 * @throws UserError for a model, text, device or folder that cannot be used; the signal's reason if it was aborted before anything was
 * learned. If it is aborted later, it keeps its work and ends with `tuned`, `stopped: true`.
 */
export const tune = (given: TuneOptions, signal: AbortSignal): AsyncGenerator<TuneEvent, void> =>
  trainingRun(given, signal, learnExits);

const learnExits: Learner = async function* (sitting, signal) {
  const { given, elapsed, atEnd } = sitting;
  const setting = settingOf(given);
  const { options, directory, earlier } = setting;
  requireEngine({ ...options, fits: !earlier && options.initialise === 'fit' });
  const folder = claimFolder(setting, sitting);
  const endFor = (windows: number): RunLimits =>
    earlier ? resumedEnd(options, given, earlier.position, windows) : endOf(options);
  const before = earlier?.position.seconds ?? 0;
  // The number of windows, which is not known yet, changes no limit in time.
  const { seconds: planned } = endFor(1);
  const parts = yield* openParts(options, earlier, planned && planned - before, atEnd, elapsed, signal);
  const seconds = parts.seconds && before + parts.seconds;
  const calibrating = parts.calibration?.seconds ?? 0;
  const limits = { ...endFor(parts.windows.count), seconds: seconds && seconds - calibrating };
  if (seconds === null) yield* warnUncalibrated(options);
  const further = earlier && furtherEnd(given, earlier.position, parts.windows.count);
  const warned = <Result>(events: AsyncGenerator<TuneEvent, Result>): AsyncGenerator<TuneEvent, Result> =>
    withWarnings(events, () => parts.warnings());
  const run =
    earlier || !folder
      ? await goOn(parts, options, earlier ?? readEarlier(directory), given.exitDevice, further, signal)
      : yield* warned(begin(parts, options, directory, folder, limits.seconds ?? Infinity, elapsed, signal));
  if (options.distillation === 0) await parts.releaseWhole();
  const worked = (): number => before + elapsed();
  const ended = yield* warned(follow(parts, options, run, limits, worked, signal));
  const { model, data } = options;
  return {
    ...ended,
    directory,
    model,
    data,
    // Calibrating opens the model as decoding does.
    async *afterwards() {
      if (!ended.stopped && seconds !== null && calibrating > 0)
        yield* calibrateShort(
          options,
          directory,
          calibrationLimit(further ? given : options, seconds - worked()),
          signal,
        );
    },
  };
};

/** A run that is ready to train: its checkpoint, its step, and its progress. */
interface Run {
  readonly checkpoint: CheckpointWriter;
  readonly step: PlacedStep;
  readonly position: TrainingPosition;
  /** Of a new run that has planned its minutes; see `TrainerSettings`. */
  readonly evaluationSeconds?: number;
}

type Ended = Pick<Trained, 'before' | 'after' | 'step' | 'seconds' | 'stopped'>;

/**
 * Trains to the end. If a device fails that the user did not name, the run continues from its last state on the CPU, as it would after a
 * kill. `worked` returns the seconds of the run so far, this process's from its start.
 */
async function* follow(
  parts: TuneParts,
  options: TuneOptions,
  first: Run,
  limits: RunLimits,
  worked: () => number,
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, Ended> {
  const source = options.distillation > 0 ? parts.wholeStates : parts.states;
  for (let run = first; ;) {
    const { step, checkpoint, evaluationSeconds } = run;
    const from = { ...run.position, seconds: worked(), calibrates: (parts.calibration?.seconds ?? 0) > 0 };
    const settings = {
      ...trainerSettings(parts, options, limits),
      ...(evaluationSeconds !== undefined && { evaluationSeconds }),
    };
    let result: TrainerResult | null = null;
    try {
      if (hasTime(limits, from))
        yield {
          type: 'phase',
          phase: 'tune',
          detail: `${plural(parts.windows.count, 'window')}, exits on ${step.device.name}`,
        };
      const training = { step, source, checkpoint, evaluate: parts.scores };
      result = yield* train(training, settings, from, signal);
    } catch (error) {
      if (step.device.kind === 'compiled' || error instanceof UserError) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      const problem = `Tuning on ${step.device.name} failed: ${reason.replace(/\.?\s*$/, '')}.`;
      if (options.exitDevice !== 'auto')
        throw userError('device', problem, 'Use --exit-device cpu with --resume to go on without it.', error);
      yield { type: 'warning', message: `${problem} Going on with the CPU.` };
    } finally {
      checkpoint.close();
      await step.dispose();
    }
    if (result) {
      const { position, stopped } = result;
      if (position.step === from.step && !stopped) yield noUpdate(position);
      const { scores } = checkpoint.saved();
      return {
        before: [...position.before],
        after: [...scores],
        step: position.step,
        seconds: position.seconds,
        stopped,
      };
    }
    const { directory } = checkpoint;
    run = await goOn(parts, options, { directory, info: openInfo(directory) }, 'cpu', run.position.end ?? null, signal);
  }
}

/** A new run: initial values, their scores, and a checkpoint with them. `until`: the second in which its updates end. */
async function* begin(
  parts: TuneParts,
  options: TuneOptions,
  directory: string,
  folder: ReservedFolder,
  until: number,
  elapsed: () => number,
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, Run> {
  const { plan } = parts;
  // Before the minutes of a fit: one that cannot be used ends the run.
  const exitDevice = await chooseExitDevice(options.exitDevice, parts.device, signal);
  const first = yield* firstValues(parts, options, until, elapsed, signal);
  const { before, progress, evaluation } = first;
  const { scores } = progress;
  // One that is stopped only writes what it has.
  const stepDevice = signal.aborted ? await chooseExitDevice('cpu', parts.device) : exitDevice;
  const step = await openStep(parts, options, first.parameters, stepDevice);
  try {
    yield { type: 'phase', phase: 'save', detail: directory };
    const evaluated = { type: 'evaluation' as const, step: 0, tokens: 0, scores, best: true };
    const { heldOutTokens, windows } = parts;
    const pool = plan?.pool(first.fitWindows) ?? null;
    const position: TrainingPosition = {
      ...firstPosition({ before, best: meanLoss(scores), data: windows.hash, heldOutTokens }, elapsed()),
      ending: { evaluation, saving: 0 },
      cost: { numbers: numbersOf(parts, options), peakBytes: 0 },
      ...(pool !== null && { pool }),
      // A preset's minutes may have become more.
      ...(parts.seconds !== null && { end: { ...endOf(options), seconds: parts.seconds } }),
    };
    const saving = elapsed();
    const start: NewCheckpoint = {
      info: { base: parts.base, exits: parts.exits, tuning: optionsText(options), calibration: null },
      shapes: parts.shapes,
      state: await step.state(),
      progress,
      position,
      metrics: [evaluated],
      whole: () => writeMemories(directory, parts.model.spec, first.memories),
    };
    const checkpoint = createCheckpoint(directory, start, folder);
    yield { ...evaluated, scores: [...scores] };
    return {
      checkpoint,
      step,
      position: { ...position, ending: { evaluation, saving: elapsed() - saving } },
      // Reading the held-out text, and the scores before and after the fit, have used their part of the tenth.
      ...(plan && {
        evaluationSeconds: Math.max(evaluation, (1 - heldOutReading) * plan.seconds.evaluation - 2 * evaluation),
      }),
    };
  } catch (error) {
    await step.dispose();
    throw error;
  }
}

/** What a new run starts from. */
interface FirstValues {
  readonly parameters: ReadonlyMap<string, Float32Array>;
  readonly memories: Fitted['memories'];
  /** Windows of the fit. */
  readonly fitWindows: number;
  /** Scores before a fit. */
  readonly before: readonly ExitScore[];
  readonly progress: Progress;
  /** Seconds of an evaluation. */
  readonly evaluation: number;
}

/** Copies, noise or a fit; of a fit, the exits that it made better. Throws the signal's reason if it was aborted before a fit. */
async function* firstValues(
  parts: TuneParts,
  options: TuneOptions,
  until: number,
  elapsed: () => number,
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, FirstValues> {
  const plain = plainExits(parts, options);
  yield { type: 'phase', phase: 'evaluate', detail: 'exits before tuning' };
  const from = elapsed();
  const before = await parts.scores(plain);
  const evaluation = elapsed() - from;
  signal.throwIfAborted();
  const origin = options.initialise === 'random' ? 'random' : 'copy';
  const progress: Progress = {
    ...{ step: 0, tokens: 0, scores: before },
    origins: Object.fromEntries(parts.exits.map((exit) => [exitId(exit), origin])),
  };
  if (options.initialise !== 'fit')
    return { parameters: plain, memories: new Map(), fitWindows: 0, before, progress, evaluation };
  const left = until - elapsed() - 2 * evaluation;
  const seconds = Math.min(parts.plan?.seconds.fit ?? Infinity, largestFitShare * left);
  const { parameters, memories, windows } = yield* fitExits(parts, options, plain, seconds, signal);
  const now = { step: 0, tokens: 0, scores: await parts.scores(parameters) };
  const improved = improvedExits(now.scores, before, before);
  return {
    ...{ parameters: new Map([...plain, ...parametersOf(improved, parameters)]), memories, fitWindows: windows },
    ...{ before, progress: withImproved(progress, improved, now, 'fit'), evaluation },
  };
}

/** A run that ended before it learned anything is a failure; its plan has said how many minutes it needs. */
function noUpdate({ step }: TrainingPosition): TuneEvent {
  const ended =
    step === 0
      ? 'before the first update: the exits have their initial values'
      : `after update ${step}, where it began`;
  return { type: 'warning', message: `The run ended ${ended}.` };
}

/** An interrupted run, as its checkpoint has it. */
async function goOn(
  parts: TuneParts,
  options: TuneOptions,
  { directory, info }: Pick<Earlier, 'directory' | 'info'>,
  exitDevice: TuneOptions['exitDevice'],
  end: RunLimits | null,
  signal: AbortSignal,
): Promise<Run> {
  const opened = openCheckpoint(directory, parts.base);
  opened.close();
  const { checkpoint, state, position } = resumeRun(
    { directory, info },
    parts.shapes,
    opened.progress,
    parts.windows.hash,
    end,
  );
  try {
    const chosen = await chooseExitDevice(exitDevice, parts.device, signal);
    const step = await openStep(parts, options, state.parameters, chosen);
    await step.restore(state);
    return { checkpoint, step, position };
  } catch (error) {
    checkpoint.close();
    throw error;
  }
}

async function openStep(
  { model, exits, windows, teach }: TuneParts,
  options: TuneOptions,
  initial: ReadonlyMap<string, Float32Array>,
  exitDevice: ExitDevice,
): Promise<PlacedStep> {
  return openPlacedStep(exitDevice, {
    spec: model.spec,
    exits,
    initial,
    model: model.parameters,
    objective: options,
    optimiser: options,
    teach,
    batch: options.batchSize,
    tokens: windows.tokens,
    ...(options.threads > 0 && { threads: options.threads }),
  });
}

function trainerSettings(
  { exits, calibration, model }: TuneParts,
  options: TuneOptions,
  limits: RunLimits,
): TrainerSettings {
  const ids = exits.map(exitId);
  const rates = { ...options, learningRate: learningRateOf(options, model.spec) };
  return {
    limits,
    batch: options.batchSize,
    accumulation: options.accumulation,
    seed: options.seed,
    settings: (update, updates) => {
      const weights = exitWeightsAt(options.exitWeights, ids.length, update, updates);
      return {
        learningRate: learningRateAt(rates, update, updates),
        exitWeights: new Map(ids.map((id, i) => [id, weights[i]!])),
      };
    },
    evaluateEvery: options.evaluateEvery,
    // Without a teacher the whole backbone is closed by now.
    ...(calibration && options.distillation > 0 && { late: () => calibration.late() }),
  };
}
