/**
 * How the minutes of a run are divided: at most a tenth for evaluations, the time of calibrating, up to half of the rest for a fit, and
 * what is left for updates. Pure arithmetic on speeds that a run measures in its first seconds.
 */

/** Seconds, measured on this machine with this model. */
export interface Speeds {
  /** Of the run so far: model, text, and these measurements. */
  readonly spent: number;
  /** One window through the whole of it. */
  readonly window: number;
  /** Opening what scores the final exit. */
  readonly scorerOpening: number;
  /** The final exit's scores of one window. */
  readonly scoring: number;
}

/** What a run shall do. */
export interface PlanRequest {
  readonly seconds: number;
  /** Tokens of a window. */
  readonly tokens: number;
  readonly evaluationTokens: number;
  /** Number of held-out windows that exist. */
  readonly heldOutWindows: number;
  /** Windows to tune on that there are. */
  readonly windows: number;
  /** Null if exits are not fitted. */
  readonly fitTokens: number | null;
  /** Windows of an update. */
  readonly perUpdate: number;
  /** Whether exits learn from the final exit's distribution. */
  readonly distils: boolean;
  /** Classes of all exits' heads together ÷ the vocabulary. */
  readonly headShare: number;
}

export interface TunePlan {
  /** Seconds for each phase; with the seconds already spent they add up to the given ones. */
  readonly seconds: {
    readonly evaluation: number;
    readonly fit: number;
    readonly updates: number;
    readonly calibration: number;
  };
  readonly evaluationTokens: number;
  readonly fitWindows: number;
  /** Updates expected, and how long one takes. */
  readonly updates: number;
  readonly updateSeconds: number;
  /** The number of minutes that would bring a gain; null if the given ones do. */
  readonly minutesNeeded: number | null;
  /** The number of minutes with room for some updates, too; null if the given ones have. */
  readonly minutesForUpdates: number | null;
}

const evaluationShare = 0.1;
/** Of a long run a tenth is for calibrating, of a shorter one up to a third: as many seconds as half a billion parameters take on two cores. */
const calibrationShare = { long: 0.1, short: 1 / 3 } as const;
const enoughCalibration = 100;

/** Seconds of a run that are for calibrating. */
export const calibrationSeconds = (seconds: number): number =>
  Math.max(calibrationShare.long * seconds, Math.min(calibrationShare.short * seconds, enoughCalibration));

/** The reverse: seconds of a run with this many seconds for its work, if `evaluations` is the share for evaluations. */
const secondsFor = (work: number, evaluations: number): number =>
  Math.max(
    work / (1 - evaluations - calibrationShare.long),
    Math.min(work / (1 - evaluations - calibrationShare.short), (work + enoughCalibration) / (1 - evaluations)),
  );

const largestFitShare = 0.5;

/** A gradient at a head costs three products, scoring one. */
const gradientProducts = 3;
/** Evaluations of the exits: before and after a fit, one on the way, the last. */
const evaluations = 4;
/** Fewer held-out windows give too noisy a loss. */
const leastHeldOut = 2;
/** A fit needs a window to learn from and one apart. */
const leastFitWindows = 2;
/** Updates that bring something without a fit. */
const leastUpdates = 10;

export function planMinutes(speeds: Speeds, request: PlanRequest): TunePlan {
  const evaluation = evaluationShare * request.seconds;
  const calibration = calibrationSeconds(request.seconds);
  const rest = Math.max(0, request.seconds - speeds.spent - evaluation - calibration);
  const { window, scoring } = speeds;

  const fitWindow = window + scoring / 2;
  const wantedFit =
    request.fitTokens === null ? 0 : Math.min(request.windows, Math.ceil(request.fitTokens / request.tokens));
  const fitWindows = Math.min(wantedFit, Math.floor((largestFitShare * rest) / fitWindow));
  const fit = Math.min(largestFitShare * rest, fitWindows * fitWindow);
  const update = updateSeconds(speeds, request);
  const updates = Math.floor((rest - fit) / update);
  const isEnough =
    request.fitTokens === null ? updates >= leastUpdates : fitWindows >= Math.min(leastFitWindows, wantedFit);
  return {
    seconds: { evaluation, fit, updates: rest - fit, calibration },
    evaluationTokens: evaluationTokensOf(speeds, request, evaluation),
    fitWindows,
    updates,
    updateSeconds: update,
    minutesNeeded: isEnough ? null : minutesFor(speeds, leastWork(request, fitWindow, update)),
    minutesForUpdates: updates >= leastUpdates ? null : minutesFor(speeds, withUpdates(wantedFit * fitWindow, update)),
  };
}

/** Seconds of one update: the backbone, the teacher's logits, and three products at each exit's head. */
export const updateSeconds = ({ window, scoring }: Speeds, { perUpdate, distils, headShare }: PlanRequest): number =>
  perUpdate * (window + scoring * ((distils ? 1 : 0) + gradientProducts * headShare));

function evaluationTokensOf(
  { window, scorerOpening, scoring }: Speeds,
  { tokens, evaluationTokens, heldOutWindows, headShare }: PlanRequest,
  budget: number,
): number {
  const wanted = Math.min(heldOutWindows, Math.max(1, Math.floor(evaluationTokens / tokens)));
  const exits = evaluations * headShare;
  const affordable = Math.floor((budget - exits * scorerOpening) / (window + scoring * (1 + exits)));
  return Math.min(wanted, Math.max(leastHeldOut, affordable)) * tokens;
}

/** The least work that brings a gain: a small fit, which has half of the time, or some updates. */
const leastWork = ({ fitTokens }: PlanRequest, fitWindow: number, update: number): number =>
  fitTokens === null ? leastUpdates * update : (leastFitWindows * fitWindow) / largestFitShare;

/** The least work with some updates, beside a fit that takes up to half of the time. */
const withUpdates = (wantedFit: number, update: number): number =>
  leastUpdates * update + Math.min(wantedFit, leastUpdates * update);

/** The least minutes with room for this many seconds of work besides the seconds already spent, evaluations and calibrating. */
const minutesFor = ({ spent }: Speeds, work: number): number =>
  Math.ceil(secondsFor(spent + work, evaluationShare) / 60);
