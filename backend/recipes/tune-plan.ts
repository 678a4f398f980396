/** The plan of a run with a limit in minutes: it measures the cost of the run's work here in the first seconds, and divides the minutes. */
import type { MinutesEvent, TuneEvent } from '../../protocol/events.ts';
import type { TuneOptions } from '../../protocol/options.ts';
import type { OpenScorer } from '../evaluation/scores.ts';
import type { ExitSpec } from '../exits/spec.ts';
import type { FeatureSource, Windows } from '../features/features.ts';
import type { Model } from '../model/open.ts';
import { cutName, finalCut, type ModelSpec } from '../model/spec.ts';
import type { ExitScorer } from '../runtime/open.ts';
import { planMinutes, type PlanRequest, type Speeds, type TunePlan } from '../tuning/plan.ts';
import { windowsAt } from '../tuning/trainer-order.ts';
import type { Sitting } from './training-run.ts';

/** Positions whose scores are timed. */
const timedPositions = 128;

type MinutesOptions = TuneOptions & { readonly minutes: number };

/** What a plan is made for; `states`: those of the whole backbone. */
export interface Planned {
  readonly model: Pick<Model, 'name' | 'spec'>;
  readonly exits: readonly ExitSpec[];
  readonly states: FeatureSource;
  readonly openScorer: OpenScorer;
  readonly heldOutWindows: number;
}

export interface MeasuredPlan {
  readonly plan: TunePlan;
  /** The final exit's scorer, which was opened to time it; null once it was taken. */
  takeScorer(): ExitScorer | null;
}

/** Measures the speeds of a new run and divides its minutes; reports the plan, and if the minutes are too few. */
export async function* measuredPlan(
  options: MinutesOptions,
  { model: { name, spec }, exits, states, openScorer, heldOutWindows }: Planned,
  atEnd: Sitting['atEnd'],
  elapsed: () => number,
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, MeasuredPlan> {
  yield { type: 'phase', phase: 'features', detail: 'how fast the model is here' };
  const { speeds, scorer } = await measureSpeeds(states, spec, openScorer, options.seed, elapsed);
  let left: ExitScorer | null = scorer;
  atEnd(() => left?.dispose());
  signal.throwIfAborted();
  const plan = planMinutes(speeds, planRequest(options, exits, spec, states.windows, heldOutWindows));
  yield minutesEvent(options.minutes, states.windows.tokens, plan);
  const short = tooShort(name, plan, options);
  if (short !== null) yield { type: 'warning', message: short };
  return {
    plan,
    takeScorer() {
      const taken = left;
      left = null;
      return taken;
    },
  };
}

interface Measured {
  readonly speeds: Speeds;
  /** The final exit's scorer, which was opened to time it. */
  readonly scorer: ExitScorer;
}

/**
 * Times the backbone on the first windows that a run takes, and the final exit's scorer. Windows that are cached on disk take no time; if
 * later windows are not cached, phases end by the clock.
 */
export async function measureSpeeds(
  source: FeatureSource,
  spec: ModelSpec,
  openScorer: OpenScorer,
  seed: number,
  elapsed: () => number,
): Promise<Measured> {
  const { windows } = source;
  const timed = async <T>(work: () => Promise<T>): Promise<[T, number]> => {
    const before = elapsed();
    return [await work(), elapsed() - before];
  };
  const [first, second] = windowsAt(seed, windows.count, 0, 2) as [number, number];
  // The first opens the backbone.
  const batch = await source.batch([first]);
  const [, window] = await timed(() => source.batch([second]));
  const [scorer, scorerOpening] = await timed(() => openScorer(null, new Map()));
  const positions = Math.min(timedPositions, windows.tokens);
  const stream = batch.features.get(cutName(finalCut(spec)))!.subarray(0, positions * spec.hidden);
  const score = () => scorer.score(stream, new Int32Array(positions), 1, positions);
  // The first touches the head's memory and builds what later ones find.
  await score();
  const [, scoring] = await timed(score);
  const speeds: Speeds = {
    spent: elapsed(),
    window,
    scorerOpening,
    scoring: (scoring * windows.tokens) / positions,
  };
  return { speeds, scorer };
}

/** What a run shall do, as the plan sees it. */
function planRequest(
  options: MinutesOptions,
  exits: readonly ExitSpec[],
  { vocabulary }: ModelSpec,
  windows: Windows,
  heldOutWindows: number,
): PlanRequest {
  const classes = ({ head }: ExitSpec): number => (head.kind === 'shortlist' ? head.tokens.length + 1 : vocabulary);
  return {
    seconds: 60 * options.minutes,
    tokens: windows.tokens,
    evaluationTokens: options.evaluationTokens,
    heldOutWindows,
    windows: windows.count,
    fitTokens: options.initialise === 'fit' ? options.fitTokens : null,
    perUpdate: options.batchSize * options.accumulation,
    distils: options.distillation > 0,
    headShare: exits.reduce((sum, exit) => sum + classes(exit), 0) / vocabulary,
  };
}

const minutesEvent = (minutes: number, tokens: number, plan: TunePlan): MinutesEvent => ({
  type: 'minutes',
  minutes,
  seconds: plan.seconds,
  evaluationTokens: plan.evaluationTokens,
  fitTokens: plan.fitWindows * tokens,
  updates: plan.updates,
  minutesNeeded: plan.minutesNeeded,
});

/**
 * One sentence about what the minutes of a run are too few for, and how many would suffice; null if they suffice. A fit needs less time
 * than updates; the time of a calibration is known only after it has begun.
 */
export function tooShort(model: string, plan: TunePlan, { minutes, initialise }: Timed): string | null {
  const { minutesNeeded, minutesForUpdates } = plan;
  if (minutesNeeded === null && minutesForUpdates === null) return null;
  const [fits, enough] = [initialise === 'fit', minutesForUpdates ?? minutesNeeded!];
  const wanted = !fits
    ? `updates, which take about ${enough}`
    : minutesNeeded === null
      ? `more than a fit of ${model}'s exits here: updates take about ${enough}`
      : `exits of ${model} here: a fit takes about ${minutesNeeded}, and with updates ${enough}`;
  return `${minutesText(minutes)} too few for ${wanted} (--minutes ${enough}), calibration included if a tenth of them suffices.`;
}

type Timed = Pick<TuneOptions, 'initialise'> & { readonly minutes: number };

const minutesText = (minutes: number): string => (minutes === 1 ? 'A minute is' : `${minutes} minutes are`);
