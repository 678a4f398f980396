/**
 * The tuning loop: takes batches of features, steps, evaluates, keeps the best values of each exit and the state for resuming, and reports.
 * Knows neither the backbone nor how a step or an evaluation is computed.
 */
import { setImmediate } from 'node:timers/promises';
import type { EvaluationEvent, ExitScore, StepEvent, TuneEvent } from '../../protocol/events.ts';
import type { RunLimits, TrainingPosition } from '../checkpoint/state.ts';
import type { CheckpointWriter } from '../checkpoint/writer.ts';
import type { StepBatch, Windows } from '../features/features.ts';
import { eachExit, type Keeping } from './best.ts';
import { openPace, type PaceSettings } from './pace.ts';
import { windowsAt } from './trainer-order.ts';
import type { StepResult, StepSettings, TuningStep } from './step/types.ts';

export interface TrainerSettings extends PaceSettings {
  /** Windows in one pass. */
  readonly batch: number;
  /** Passes whose gradients make one update. */
  readonly accumulation: number;
  readonly seed: number;
  /** Learning rate and exit weights of update `update` (from 0) of `updates`; under a limit in time, `updates` is the number of its parts. */
  readonly settings: (update: number, updates: number) => StepSettings;
}

export interface TrainerParts<Batch extends { readonly targets: Int32Array } = StepBatch> {
  readonly step: TuningStep<Batch>;
  /** Batches of windows by index. */
  readonly source: { readonly windows: Windows; batch(indices: readonly number[]): Promise<Batch> };
  readonly checkpoint: CheckpointWriter;
  /** Held-out scores of every exit, the final exit's last. */
  readonly evaluate: (parameters: ReadonlyMap<string, Float32Array>) => Promise<readonly ExitScore[]>;
  /** What is best, and kept; by default each exit for itself. */
  readonly keeping?: Keeping;
  /** Seconds on a clock that only runs forward. */
  readonly clock?: () => number;
}

/** Result of `train`: the position of the run. */
export interface TrainerResult {
  readonly position: TrainingPosition;
  /** True if the signal ended it. */
  readonly stopped: boolean;
}

/**
 * Continues from `start` until a limit is reached or the signal aborts; in both cases the checkpoint then has everything. With the same
 * seed and the same limits in steps or epochs the metrics are the same however often the run was interrupted.
 * @throws UserError if the checkpoint cannot be written or the data is damaged.
 */
export async function* train<Batch extends { readonly targets: Int32Array }>(
  run: TrainerParts<Batch>,
  settings: TrainerSettings,
  start: TrainingPosition,
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, TrainerResult> {
  const { step, source, checkpoint, keeping = eachExit, clock = () => performance.now() / 1000 } = run;
  const { limits } = settings;
  const perStep = settings.batch * settings.accumulation;
  const planned = plannedSteps(limits, source.windows.count, perStep);
  if (planned === null && limits.seconds === null) throw new Error('a run without a limit');
  const pool = start.pool ?? source.windows.count;
  const pace = openPace(settings, planned, start, clock);
  let position = { ...start, evaluatedAt: start.evaluatedAt ?? start.step };

  const save = async (metricsBytes?: number): Promise<void> => {
    const from = pace.elapsed();
    const state = await step.state();
    position = withPeak(position);
    checkpoint.saveState(state, { ...position, ending: pace.ending(), seconds: pace.elapsed() }, metricsBytes);
    const numbers = [...state.parameters.values()].reduce((sum, { length }) => sum + length, 0);
    pace.saved(from, numbers);
  };

  const evaluate = async (): Promise<EvaluationEvent> => {
    const from = pace.elapsed();
    const { parameters } = await step.state();
    const scores = await run.evaluate(parameters);
    const loss = keeping.loss(scores);
    const best = position.best === null || loss < position.best;
    if (best) position = { ...position, best: loss };
    const now = { step: position.step, tokens: position.tokens, scores };
    const event: EvaluationEvent = { type: 'evaluation', ...now, scores: [...scores], best };
    checkpoint.metric({ ...event });
    keeping.keep(checkpoint, parameters, now, position.before);
    position = { ...position, evaluatedAt: position.step };
    pace.evaluated(from);
    return event;
  };

  let stopped = false;
  await pace.look();
  while (!pace.isOver(position.step)) {
    const from = pace.elapsed();
    const now =
      limits.seconds === null
        ? settings.settings(position.step, planned!)
        : atShare(settings, pace.share(position.step));
    const updated = await update(run, settings, now, { from: position.windows, pool }, signal);
    // Gradients of an update that was not finished are not part of the state: a resume takes its windows again.
    if ((stopped = updated === null)) break;
    const { result, tokens } = updated;
    position = {
      ...position,
      step: position.step + 1,
      windows: position.windows + perStep,
      tokens: position.tokens + tokens,
    };
    const event = stepEvent(result, now, position, pool);
    checkpoint.metric({ type: 'step', ...event });
    pace.updated(from, tokens);
    const { tokensPerSecond, secondsPerStep, secondsLeft } = pace.speed(position.step);
    const steps = planned ?? position.step + Math.round(secondsLeft / secondsPerStep);
    yield { type: 'step', ...event, steps, tokensPerSecond, secondsLeft };
    await pace.look();
    if (pace.isEvaluationDue(position.step) && !pace.isOver(position.step)) yield await evaluate();
    if (pace.isSaveDue()) await save();
  }

  // Metrics of an evaluation that only the stop caused are no part of the run.
  const metricsBytes = stopped ? checkpoint.metricsBytes() : undefined;
  const reached = position;
  if (position.step > position.evaluatedAt) yield await evaluate();
  position = stopped ? reached : { ...position, finished: true };
  await save(metricsBytes);
  return { position: { ...position, seconds: pace.elapsed() }, stopped };
}

/** With the most memory that the process has had. */
function withPeak<Position extends TrainingPosition>(position: Position): Position {
  const { cost } = position;
  const peakBytes = Math.max(cost?.peakBytes ?? 0, process.resourceUsage().maxRSS * 1024);
  return cost ? { ...position, cost: { ...cost, peakBytes } } : position;
}

/** One update, of as many passes as are accumulated, from place `from` of the run on; null if the signal ended it. */
async function update<Batch extends { readonly targets: Int32Array }>(
  { step, source }: TrainerParts<Batch>,
  { batch, accumulation, seed }: TrainerSettings,
  settings: StepSettings,
  { from, pool }: { readonly from: number; readonly pool: number },
  signal: AbortSignal,
): Promise<{ readonly result: StepResult; readonly tokens: number } | null> {
  let tokens = 0;
  for (let pass = 0; ; pass++) {
    await setImmediate(); // let messages in: the runtime computes without giving way
    if (signal.aborted) return null;
    const features = await source.batch(windowsAt(seed, source.windows.count, from + pass * batch, batch, pool));
    tokens += countTargets(features.targets);
    if (pass === accumulation - 1) return { result: await step.update(features, settings), tokens };
    await step.accumulate(features, settings);
  }
}

/** A run whose number of steps is not known reports its progress in this many parts. */
const timeParts = 1000;
const atShare = ({ settings }: TrainerSettings, share: number): StepSettings =>
  settings(share * (timeParts - 1), timeParts);

function plannedSteps({ steps, epochs }: RunLimits, windows: number, perStep: number): number | null {
  // Epochs of a run that goes on are a sum with a rounding error, which is no update.
  const byEpochs = epochs === null ? Infinity : Math.ceil((epochs * windows) / perStep - 1e-9);
  const planned = Math.min(steps ?? Infinity, byEpochs);
  return planned === Infinity ? null : planned;
}

type StepNumbers = Omit<StepEvent, 'type' | 'steps' | 'tokensPerSecond' | 'secondsLeft'>;

function stepEvent(
  result: StepResult,
  { learningRate, exitWeights }: StepSettings,
  position: TrainingPosition,
  windows: number,
): StepNumbers {
  const losses = Object.fromEntries(result.crossEntropies);
  const gaps = result.gaps.size > 0 ? { gaps: Object.fromEntries(result.gaps) } : {};
  const gradientNorms = Object.fromEntries(result.gradientNorms);
  let loss = 0;
  for (const [exit, value] of result.losses) loss += (exitWeights.get(exit) ?? 0) * value;
  const { step, tokens } = position;
  const epoch = Math.floor((position.windows - 1) / windows) + 1;
  return { step, epoch, tokens, learningRate, loss, losses, ...gaps, gradientNorms };
}

function countTargets(targets: Int32Array): number {
  let count = 0;
  for (const target of targets) if (target >= 0) count++;
  return count;
}
