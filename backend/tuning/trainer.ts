/**
 * The tuning loop: takes batches of features, steps, evaluates, keeps the best values of each exit and the state for resuming, and reports.
 * Knows neither the backbone nor how a step or an evaluation is computed.
 */
import type { EvaluationEvent, ExitScore, StepEvent, TuneEvent } from '../../protocol/events.ts';
import type { Ending, RunLimits, TrainingPosition } from '../checkpoint/state.ts';
import type { CheckpointWriter } from '../checkpoint/writer.ts';
import type { StepBatch, Windows } from '../features/features.ts';
import { eachExit, type Keeping } from './best.ts';
import { windowsAt } from './trainer-order.ts';
import type { StepResult, StepSettings, TuningStep } from './types.ts';

export interface TrainerSettings {
  readonly limits: RunLimits;
  /** Windows in one pass. */
  readonly batch: number;
  /** Passes whose gradients make one update. */
  readonly accumulation: number;
  readonly seed: number;
  /** Learning rate and exit weights of update `update` (from 0) of `updates`; under a limit in time, `updates` is the number of its parts. */
  readonly settings: (update: number, updates: number) => StepSettings;
  /** Updates between two evaluations; null for about ten a run. */
  readonly evaluateEvery: number | null;
  /** Seconds that evaluations may still take, the last included; default: a tenth of the time between them. */
  readonly evaluationSeconds?: number;
  /** Seconds by which a run with a limit in time ends sooner, as the machine is now; asked about ten times a run. */
  readonly late?: () => Promise<number>;
}

const noEnding: Ending = { evaluation: 0, saving: 0 };

/** Whether there is time for `seconds` more of work before the end, which includes the last evaluation and the last writing. */
export const hasTime = (
  { seconds: limit }: RunLimits,
  { seconds, ending = noEnding }: Pick<TrainingPosition, 'seconds' | 'ending'>,
  work = 0,
): boolean => limit === null || seconds + work + ending.evaluation + ending.saving < limit;

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

/** Bounds on how often the state is written: at most a twentieth of the time, and this number of bytes a second. */
const savePatience = 20;
const saveBytesPerSecond = 2e6;
const evaluationsPerRun = 10;
const looksPerRun = 10;

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
  const { limits, batch, accumulation } = settings;
  const perStep = batch * accumulation;
  const planned = plannedSteps(limits, source.windows.count, perStep);
  const pool = start.pool ?? source.windows.count;
  if (planned === null && limits.seconds === null) throw new Error('a run without a limit');
  const began = clock() - start.seconds;
  const elapsed = (): number => clock() - began;

  let position = { ...start, evaluatedAt: start.evaluatedAt ?? start.step };
  let evaluatedSeconds = elapsed();
  let evaluationsLeft = settings.evaluationSeconds ?? Infinity;
  let ending = start.ending ?? noEnding;
  let stepSeconds = 0;
  let savedSeconds = elapsed();
  let saveInterval = 0;
  const updatesFrom = start.updatesFrom ?? 0;
  let stopped = false;
  const recent = speedometer();
  const limit = movingLimit(settings, elapsed);
  let shareDone = 0;

  const save = async (metricsBytes?: number): Promise<void> => {
    const before = elapsed();
    const state = await step.state();
    const { cost } = position;
    const peakBytes = Math.max(cost?.peakBytes ?? 0, process.resourceUsage().maxRSS * 1024);
    if (cost) position = { ...position, cost: { ...cost, peakBytes } };
    checkpoint.saveState(state, { ...position, ending, seconds: elapsed() }, metricsBytes);
    savedSeconds = elapsed();
    ending = { ...ending, saving: savedSeconds - before };
    const values = [...state.parameters.values()].reduce((sum, { length }) => sum + length, 0);
    saveInterval = Math.max(savePatience * (savedSeconds - before), (3 * 4 * values) / saveBytesPerSecond);
  };

  /** Share of the run that is done, by steps or by time. */
  const share = (): number => {
    const bySteps = planned === null ? 0 : position.step / planned;
    const until = limit.seconds();
    const byTime = until === null ? 0 : (elapsed() - updatesFrom) / Math.max(1e-9, until - updatesFrom);
    return (shareDone = Math.min(1, Math.max(shareDone, bySteps, byTime)));
  };
  const done = (): boolean =>
    (planned !== null && position.step >= planned) ||
    !hasTime({ ...limits, seconds: limit.seconds() }, { seconds: elapsed(), ending }, stepSeconds);
  const evaluationDue = (): boolean => {
    if (settings.evaluateEvery !== null) return position.step % settings.evaluateEvery === 0;
    if (planned !== null && position.step % Math.max(1, Math.round(planned / evaluationsPerRun)) === 0) return true;
    // Never more than a tenth of the time for evaluations, and what is left of it must do for the last.
    if (limits.seconds === null || evaluationsLeft < 2 * ending.evaluation) return false;
    return elapsed() - evaluatedSeconds >= Math.max(limits.seconds / evaluationsPerRun, 9 * ending.evaluation);
  };

  const evaluate = async (): Promise<EvaluationEvent> => {
    const before = elapsed();
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
    evaluatedSeconds = elapsed();
    ending = { ...ending, evaluation: evaluatedSeconds - before };
    evaluationsLeft -= ending.evaluation;
    return event;
  };

  await limit.look();
  while (!done()) {
    const from = elapsed();
    const now = limits.seconds === null ? settings.settings(position.step, planned!) : atShare(settings, share());
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
    recent.add(tokens, elapsed() - from);
    stepSeconds = recent.secondsPerStep();
    const secondsLeft = timeLeft(limit.seconds(), elapsed(), planned, position.step, recent.secondsPerStep());
    yield {
      type: 'step',
      ...event,
      steps: planned ?? position.step + Math.round(secondsLeft / recent.secondsPerStep()),
      tokensPerSecond: recent.tokensPerSecond(),
      secondsLeft,
    };
    await limit.look();
    if (evaluationDue() && !done()) yield await evaluate();
    if (elapsed() - savedSeconds >= saveInterval) await save();
  }

  // Metrics of an evaluation that only the stop caused are no part of the run.
  const metricsBytes = stopped ? checkpoint.metricsBytes() : undefined;
  const reached = position;
  if (position.step > position.evaluatedAt) yield await evaluate();
  position = stopped ? reached : { ...position, finished: true };
  await save(metricsBytes);
  return { position: { ...position, seconds: elapsed() }, stopped };
}

/** The run's limit in time: it comes sooner if what follows the run takes longer, on a machine that others use. */
function movingLimit({ limits: { seconds }, late }: TrainerSettings, elapsed: () => number) {
  let limit = seconds;
  let lookedAt = -Infinity;
  return {
    /** As it is now; null: there is none. */
    seconds: (): number | null => limit,
    /** Looks at the machine, at most `looksPerRun` times. */
    async look(): Promise<void> {
      if (seconds === null || !late || elapsed() - lookedAt < seconds / looksPerRun) return;
      limit = seconds - (await late());
      lookedAt = elapsed();
    },
  };
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
    await turn();
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
  const byEpochs = epochs === null ? Infinity : Math.ceil((epochs * windows) / perStep);
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

function timeLeft(
  limit: number | null,
  elapsed: number,
  planned: number | null,
  step: number,
  secondsPerStep: number,
): number {
  const byTime = limit === null ? Infinity : limit - elapsed;
  const bySteps = planned === null ? Infinity : (planned - step) * secondsPerStep;
  return Math.max(0, Math.min(byTime, bySteps));
}

/** Speed over the last steps. */
function speedometer(): {
  add(tokens: number, seconds: number): void;
  tokensPerSecond(): number;
  secondsPerStep(): number;
} {
  const steps: { tokens: number; seconds: number }[] = [];
  const sum = (key: 'tokens' | 'seconds'): number => steps.reduce((total, step) => total + step[key], 0);
  return {
    add(tokens, seconds) {
      steps.push({ tokens, seconds: Math.max(seconds, 1e-9) });
      if (steps.length > 20) steps.shift();
    },
    tokensPerSecond: () => sum('tokens') / sum('seconds'),
    secondsPerStep: () => sum('seconds') / steps.length,
  };
}

/** Lets messages and signals in: the runtime computes without giving way. */
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
