/** The plan of a run with a limit in minutes: it measures the cost of the run's work here in the first seconds, and divides the minutes. */
import { setImmediate } from 'node:timers/promises';
import type { MinutesEvent, TuneEvent } from '../../../protocol/events.ts';
import { median } from '../../../protocol/median.ts';
import { usualPromise } from '../../../protocol/options/groups.ts';
import { lengthOf, type TuneOptions } from '../../../protocol/options/options.ts';
import { plural } from '../../../protocol/plural.ts';
import { timedBatch, type TimeLimit } from '../../evaluation/calibration/calibration-texts.ts';
import { calibrationNeed, type MachineTimes } from '../../evaluation/calibration/calibration-time.ts';
import type { OpenScorer } from '../../evaluation/scores.ts';
import { classCount, type ExitSpec } from '../../exits/spec.ts';
import type { FeatureSource } from '../../features/features.ts';
import type { Model } from '../../model/open.ts';
import { cutName, finalCut, type ModelSpec } from '../../model/spec.ts';
import type { ExitScorer } from '../../runtime/open.ts';
import {
  calibrationSeconds,
  calibrationSecondsLeft,
  leastUpdates,
  planMinutes,
  type Speeds,
  type TunePlan,
} from '../../tuning/plan.ts';
import { windowsAt } from '../../tuning/trainer-order.ts';
import type { Sitting } from './training-run.ts';

/** Positions whose scores are timed. */
const timedPositions = 128;
/** Tokens of a prompt that is timed. */
const timedPrompt = 64;
const rounds = 3;

/** What a measurement has opened, and how long that took, in seconds. */
interface OpenedScorer {
  readonly scorer: ExitScorer;
  readonly scorerOpening: number;
}

interface TokenTimes extends OpenedScorer {
  readonly times: MachineTimes;
  /** Seconds of `step` with as many texts as a calibration writes together. */
  readonly backbone: number;
}

/**
 * Opens the backbone and the final exit's scorer, and times tokens, as decoding has them. `headShare`: see `PlanRequest`. Throws the signal's
 * reason if it was aborted.
 */
export async function measureTokens(
  step: Step,
  openScorer: OpenScorer,
  { hidden }: ModelSpec,
  headShare: number,
  elapsed: () => number,
  signal?: AbortSignal,
): Promise<TokenTimes> {
  const loading = elapsed();
  const [, first] = await timed(elapsed, () => step(timedBatch), signal);
  const backbone = await timeOfStep(step, elapsed, signal);
  const [scorer, scorerOpening] = await timed(elapsed, () => openScorer(null, new Map()), signal);
  const steady = (work: () => Promise<unknown>): Promise<number> => steadyTime(elapsed, work, signal);
  const scored = (positions: number): Promise<number> =>
    steady(() => scorer.score(new Float32Array(positions * hidden).fill(1), new Int32Array(positions), 1, positions));
  const times: MachineTimes = {
    loading,
    opening: Math.max(0, first - backbone) + scorerOpening,
    fullPass: (await steady(() => step(1))) + (await scored(1)),
    ofPrompt: (await steady(() => step(1, timedPrompt))) / timedPrompt,
    aToken: (backbone + (1 + headShare) * (await scored(timedBatch))) / timedBatch,
  };
  return { times, backbone, scorer, scorerOpening };
}

/** Seconds of `step`, see `TokenTimes.backbone`. */
const timeOfStep = (step: Step, elapsed: () => number, signal?: AbortSignal): Promise<number> =>
  steadyTime(elapsed, () => step(timedBatch), signal);

/**
 * The same times on a machine on which `step` takes `again` seconds, if that is less: other programs may have kept it busy for the seconds of
 * the first look.
 */
function faster({ times, backbone }: TokenTimes, again: number): Pick<TokenTimes, 'times' | 'backbone'> {
  const share = Math.min(1, again / backbone);
  const { fullPass, ofPrompt, aToken } = times;
  return {
    times: { ...times, fullPass: share * fullPass, ofPrompt: share * ofPrompt, aToken: share * aToken },
    backbone: share * backbone,
  };
}

/** Windows that are looked at for those that are not cached. */
const mostLooked = 200;
/** Most seconds of a window that is timed twice: other programs may have kept the machine busy the first time. */
const quickWindow = 3;

/**
 * Times the backbone on the first windows of a run that are not cached, and the final exit's scorer. If an earlier run has left all of them
 * in the cache, a window takes the time of reading it. Throws the signal's reason if it was aborted.
 */
export async function measureSpeeds(
  source: FeatureSource,
  spec: ModelSpec,
  { scorer, scorerOpening }: OpenedScorer,
  seed: number,
  elapsed: () => number,
  signal?: AbortSignal,
): Promise<Speeds> {
  const { windows } = source;
  const [first, ...later] = windowsAt(seed, windows.count, 0, Math.min(mostLooked, Math.max(2, windows.count)));
  const [batch] = await timed(elapsed, () => source.batch([first!]), signal);
  let last = 0;
  const runs: number[] = [];
  for (const index of later) {
    const before = source.computed();
    [, last] = await timed(elapsed, () => source.batch([index]), signal);
    // The first that runs builds what later ones find.
    if (before > 0 && source.computed() > before) runs.push(last);
    if (runs.length === 2 || runs[0]! > quickWindow) break;
  }
  const window = runs.length > 0 ? Math.min(...runs) : last;
  const positions = Math.min(timedPositions, windows.tokens);
  const stream = batch.features.get(cutName(finalCut(spec)))!.subarray(0, positions * spec.hidden);
  const score = () => scorer.score(stream, new Int32Array(positions), 1, positions);
  await score();
  const [, scoring] = await timed(elapsed, score, signal);
  return { spent: elapsed(), window, scorerOpening, scoring: (scoring * windows.tokens) / positions };
}

/** The result of some work, and its seconds; throws the signal's reason instead of beginning if it was aborted. */
async function timed<T>(elapsed: () => number, work: () => Promise<T>, signal?: AbortSignal): Promise<[T, number]> {
  await setImmediate(); // let a cancellation in
  signal?.throwIfAborted();
  const before = elapsed();
  return [await work(), elapsed() - before];
}

/** The median of some times, after a first one that builds what later ones find. */
async function steadyTime(elapsed: () => number, work: () => Promise<unknown>, signal?: AbortSignal): Promise<number> {
  const seconds: number[] = [];
  while (seconds.length <= rounds) seconds.push((await timed(elapsed, work, signal))[1]);
  return median(seconds.slice(1));
}

/** Classes of all exits' heads together ÷ the vocabulary. */
const headShareOf = (exits: readonly ExitSpec[], spec: ModelSpec): number =>
  exits.reduce((sum, exit) => sum + classCount(spec, exit), 0) / spec.vocabulary;

/** Runs the next tokens of some texts through the whole backbone, one of each unless more are asked for. */
export type Step = (texts: number, tokens?: number) => Promise<void>;

/** What a sitting is planned for. */
interface Planning {
  readonly model: Pick<Model, 'name' | 'spec'>;
  readonly exits: readonly ExitSpec[];
  /** As the fit of the exits reads them. */
  readonly states: FeatureSource;
  readonly step: Step;
  readonly openScorer: OpenScorer;
  /** Number of held-out windows that exist. */
  readonly heldOutWindows: number;
  /** Whether it is no resumed run, which keeps its held-out text. */
  readonly isNew: boolean;
  /** Whether the exits get memories. */
  readonly remembers: boolean;
}

export interface CalibrationTime {
  /** Seconds of the sitting that are for calibrating; 0 if it is too short for that. */
  readonly seconds: number;
  /** Seconds by which calibrating will take longer than these if the machine stays as it was at the last two calls. */
  late(): Promise<number>;
}

export interface Planned {
  /** Of the sitting: the given ones, or more if a preset's were too few. */
  readonly seconds: number;
  /** Null for a resumed run. */
  readonly plan: TunePlan | null;
  readonly calibration: CalibrationTime;
  /** The final exit's scorer, which was opened to time it; null once it was taken. */
  takeScorer(): ExitScorer | null;
}

/**
 * Measures the machine and plans a sitting of these seconds; reports a new run's plan, and if the seconds are too few. If these are the
 * minutes of a preset, the plan takes as many as calibrated exits need. Throws the signal's reason if it was aborted.
 */
export async function* planSitting(
  options: TuneOptions,
  { model: { name, spec }, exits, states, step, openScorer, heldOutWindows, isNew, remembers }: Planning,
  given: number,
  atEnd: Sitting['atEnd'],
  elapsed: () => number,
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, Planned> {
  yield { type: 'phase', phase: 'features', detail: 'how fast the model is here' };
  const headShare = headShareOf(exits, spec);
  let scorer: ExitScorer | null = null;
  atEnd(() => scorer?.dispose());
  const opening: OpenScorer = async (...call) => (scorer = await openScorer(...call));
  const first = await measureTokens(step, opening, spec, headShare, elapsed, signal);
  const speeds = isNew ? await measureSpeeds(states, spec, first, options.seed, elapsed, signal) : null;
  const { times, backbone } = faster(first, await timeOfStep(step, elapsed, signal));
  const promise = options.promise ?? usualPromise.promise;
  const certainty = options.certainty ?? usualPromise.certainty;
  const { areChats = false } = states.windows;
  const need = calibrationNeed(times, { promise, certainty }, { remembers, areChats });
  let plan: TunePlan | null = null;
  let seconds = given;
  if (speeds !== null) {
    const { windows } = states;
    const request = {
      tokens: windows.tokens,
      evaluationTokens: options.evaluationTokens,
      heldOutWindows,
      windows: windows.count,
      fitTokens: options.initialise === 'fit' ? options.fitTokens : null,
      perUpdate: options.batchSize * options.accumulation,
      distils: options.distillation > 0,
      keepsStates: options.featureCache && options.epochs === null && options.steps === null,
      headShare,
      calibration: need,
    };
    plan = planMinutes(speeds, { ...request, seconds });
    if (plan.lacks.length > 0 && lengthOf(options).isLeast) {
      yield { type: 'note', message: longerThan(options.preset, name, plan, seconds / 60) };
      seconds = 60 * plan.minutesForAll;
      plan = planMinutes(speeds, { ...request, seconds });
    }
    yield minutesEvent(seconds / 60, windows.tokens, plan);
  }
  const reservedNow = async (): Promise<number> => {
    const slower = (await timeOfStep(step, elapsed)) / backbone;
    return calibrationSecondsLeft(seconds, { least: slower * need.least, usual: slower * need.usual }, isNew);
  };
  const planned = plan?.seconds.calibration ?? calibrationSeconds(seconds, need, isNew);
  const short = plan ? tooShort(name, plan, seconds / 60) : planned === 0 ? notCalibrated(need.least) : null;
  if (short !== null) yield { type: 'warning', message: short };
  return {
    seconds,
    plan,
    calibration: { seconds: planned, late: lateness(planned, reservedNow) },
    takeScorer() {
      const taken = scorer;
      scorer = null;
      return taken;
    },
  };
}

/** Of `left` seconds. A preset's minutes are no limit of the user's, so what the promise needs may take twice as long on a busy machine. */
export const calibrationLimit = (options: TuneOptions, left: number): TimeLimit => ({
  planned: left,
  most: lengthOf(options).isLeast ? 2 * left : left,
});

/** See `CalibrationTime`; `reservedNow`: seconds for calibrating as the machine is now. */
function lateness(planned: number, reservedNow: () => Promise<number>): CalibrationTime['late'] {
  let before = 0;
  return async () => {
    if (planned === 0) return 0;
    const now = Math.max(0, (await reservedNow()) - planned);
    // One look may have met a moment in which others were busy.
    const late = Math.min(before, now);
    before = now;
    return late;
  };
}

const notCalibrated = (needed: number): string =>
  `The exits will not be calibrated: here that takes at least ${Math.ceil(needed)} s.`;

const minutesEvent = (minutes: number, tokens: number, plan: TunePlan): MinutesEvent => ({
  type: 'minutes',
  minutes,
  seconds: plan.seconds,
  evaluationTokens: plan.evaluationTokens,
  fitTokens: plan.fitWindows * tokens,
  updates: plan.updates,
  minutesNeeded: plan.minutesNeeded,
});

/** One sentence about what the minutes of a run have no room for, and how many have; null if they suffice. */
export function tooShort(model: string, plan: TunePlan, minutes: number): string | null {
  if (plan.lacks.length === 0) return null;
  const { minutesForAll } = plan;
  return `${lacking(model, plan, minutes)}; about ${minutesForAll} suffice (--minutes ${minutesForAll}).`;
}

/** The sentence of a run whose preset has too few minutes. */
const longerThan = (preset: string, model: string, plan: TunePlan, minutes: number): string =>
  `${lacking(model, plan, minutes)}, so ${preset} takes ${plan.minutesForAll}. --minutes sets another limit.`;

function lacking(model: string, { lacks }: TunePlan, minutes: number): string {
  const names = lacks.map((part) => (part === 'updates' ? plural(leastUpdates, 'update') : `a ${part}`));
  const missing = [names.slice(0, -1).join(', '), ...names.slice(-1)].filter((each) => each !== '').join(' and ');
  return `${minutesText(minutes)} too few here for ${missing} of ${model}'s exits`;
}

const minutesText = (minutes: number): string => (minutes === 1 ? 'A minute is' : `${minutes} minutes are`);
