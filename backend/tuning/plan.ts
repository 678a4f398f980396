/**
 * How the minutes of a run are divided: at most a tenth for evaluations, what calibrating takes, up to two thirds of the rest for a fit,
 * and what is left for updates. Pure arithmetic on speeds that a run measures in its first seconds.
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
  /** Whether the states of the windows of the fit are kept. */
  readonly keepsStates: boolean;
  /** Classes of all exits' heads together ÷ the vocabulary. */
  readonly headShare: number;
  readonly calibration: CalibrationNeed;
}

/** Seconds of a calibration. */
export interface CalibrationNeed {
  /** In which the promise can be kept. */
  readonly least: number;
  /** With time for bolder thresholds. */
  readonly usual: number;
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
  /** Updates expected. */
  readonly updates: number;
  /** Windows from which the updates are taken, those of the fit first, if it had time for `fitWindows`; null: all. */
  readonly pool: (fitWindows: number) => number | null;
  /** The number of minutes that would bring a gain; null if the given ones do. */
  readonly minutesNeeded: number | null;
  /** What there is no room for, in the order of the run. */
  readonly lacks: readonly PlannedPart[];
  /** The number of minutes with room for all of it. */
  readonly minutesForAll: number;
}

export type PlannedPart = 'fit' | 'updates' | 'calibration';

const evaluationShare = 0.1;
/** Of a long run a tenth is for calibrating; of a short one what it takes, if a new run has time for its work. */
const calibrationShare = 0.1;
/** A new run keeps half of its time for its work, but at most these seconds: candidates of a slow model were undecided otherwise (docs/lab.md). */
const workShare = { part: 0.5, seconds: 480 } as const;
/** Other programs may use the machine while exits are calibrated. */
const patience = 1.5;

/** Seconds of a run that are for calibrating; 0 if the run is too short for it. */
export function calibrationSeconds(seconds: number, need: CalibrationNeed, isNew = true): number {
  const isEnough = patience * need.least <= mostCalibration(seconds, isNew);
  return isEnough ? calibrationSecondsLeft(seconds, need, isNew) : 0;
}

/** The same of a run that has begun to work for its calibration: on a machine that became too slow for it, as many as there can be. */
export const calibrationSecondsLeft = (seconds: number, { usual }: CalibrationNeed, isNew = true): number =>
  Math.min(Math.max(calibrationShare * seconds, patience * usual), mostCalibration(seconds, isNew));

const mostCalibration = (seconds: number, isNew: boolean): number =>
  isNew ? seconds - Math.min(workShare.part * seconds, workShare.seconds) : seconds;

/** The same where more would leave too little for updates: bolder thresholds then have no patience. */
const hurried = ({ least, usual }: CalibrationNeed): number => Math.max(patience * least, usual);

/** The reverse: seconds of a run with this many seconds for its work and with a calibration that has time for bolder thresholds. */
const secondsFor = (work: number, need: CalibrationNeed): number =>
  Math.max(
    hurried(need) + Math.min((hurried(need) * workShare.part) / (1 - workShare.part), workShare.seconds),
    (work + hurried(need)) / (1 - evaluationShare),
    work / (1 - evaluationShare - calibrationShare),
  );

/** A fit also learns when to trust the text, which brings more speed than late updates (docs/lab.md). */
export const largestFitShare = 2 / 3;

/** A gradient at a head costs three products, what the final exit says of its classes one more; scoring costs one. */
const gradientProducts = 3;
/** Time of an update's products, which are of floats, ÷ that of the scorer's, which are of integers; softmaxes and moments included. */
const floatShare = 2;
/** Evaluations of the exits: before and after a fit, one on the way, the last. */
const evaluations = 4;
/** Fewer held-out windows give too noisy a loss. */
const leastHeldOut = 2;
/** A fit needs a window to learn from and one apart. */
const leastFitWindows = 2;
/** Exits that take the same windows more often learn them by heart (docs/lab.md). */
const mostEpochs = 2;
/** Updates that bring something without a fit. */
export const leastUpdates = 10;

export function planMinutes(speeds: Speeds, request: PlanRequest): TunePlan {
  const { seconds: given, calibration: need } = request;
  const most = calibrationSeconds(given, need);
  const short = Math.min(most, Math.max(calibrationShare * given, hurried(need)));
  const divide = (calibration: number) => divided(speeds, request, calibration);
  const patient = divide(most);
  const whole = [patient, divide(short)].find(({ updates }) => updates >= leastUpdates) ?? patient;
  // Exits that learned nothing need no calibration.
  const plan = whole.isEnough && whole.updates > 0 ? whole : divide(0);
  const { seconds, fitWindows, updates, isEnough, wantedFit, fitWindow } = plan;
  const update = updateSeconds(speeds, request);
  /** The least minutes with room for this many seconds of work besides those already spent, evaluations and calibrating. */
  const enough = (work: number): number => Math.ceil(secondsFor(speeds.spent + work, request.calibration) / 60);
  const isFitted = request.fitTokens !== null;
  const lacks = {
    fit: isFitted && !isEnough,
    updates: updates < leastUpdates,
    calibration: seconds.calibration === 0,
  };
  return {
    seconds,
    evaluationTokens: evaluationTokensOf(speeds, request, seconds.evaluation),
    fitWindows,
    updates,
    pool: (read) => updatesIn(seconds.updates, read, speeds, request).pool,
    minutesNeeded: isEnough ? null : enough(leastWork(request, fitWindow, update)),
    lacks: parts.filter((part) => lacks[part]),
    minutesForAll: enough(withUpdates(wantedFit * fitWindow, update)),
  };
}

const parts: readonly PlannedPart[] = ['fit', 'updates', 'calibration'];

/** What of the work there is room for beside a calibration of these seconds. */
function divided(speeds: Speeds, request: PlanRequest, calibration: number) {
  const evaluation = evaluationShare * request.seconds;
  const rest = Math.max(0, request.seconds - speeds.spent - evaluation - calibration);
  const fitWindow = speeds.window + speeds.scoring / 2;
  const wantedFit =
    request.fitTokens === null ? 0 : Math.min(request.windows, Math.ceil(request.fitTokens / request.tokens));
  const fitWindows = Math.min(wantedFit, Math.floor((largestFitShare * rest) / fitWindow));
  const fit = Math.min(largestFitShare * rest, fitWindows * fitWindow);
  const { updates } = updatesIn(rest - fit, fitWindows, speeds, request);
  const isEnough =
    request.fitTokens === null ? updates >= leastUpdates : fitWindows >= Math.min(leastFitWindows, wantedFit);
  return {
    seconds: { evaluation, fit, updates: rest - fit, calibration },
    fitWindow,
    wantedFit,
    fitWindows,
    updates,
    isEnough,
  };
}

/**
 * Updates within these seconds. The backbone takes most of an update of new windows. So if states are kept, updates take the windows of the
 * fit again, and new ones only so that none is taken too often.
 */
function updatesIn(
  seconds: number,
  fitWindows: number,
  speeds: Speeds,
  request: PlanRequest,
): { readonly updates: number; readonly pool: number | null } {
  const { perUpdate, windows } = request;
  if (!request.keepsStates || fitWindows === 0)
    return { updates: Math.floor(seconds / updateSeconds(speeds, request)), pool: null };
  const learning = perUpdate * learningSeconds(speeds, request);
  const teaching = teachingSeconds(speeds, request);
  const taken = (updates: number): number => Math.min(windows, Math.ceil((updates * perUpdate) / mostEpochs));
  // The teacher reads a window once: every window of the fit, or as many as updates take.
  const again = Math.floor(
    Math.max((seconds - fitWindows * teaching) / learning, seconds / (learning + perUpdate * teaching)),
  );
  if (taken(again) <= fitWindows) return { updates: again, pool: poolOf(fitWindows, windows) };
  const reading = (perUpdate * (speeds.window + teaching)) / mostEpochs;
  const updates = Math.floor((seconds + fitWindows * speeds.window) / (learning + reading));
  return { updates, pool: poolOf(Math.max(fitWindows, taken(updates)), windows) };
}

const poolOf = (taken: number, windows: number): number | null => (taken < windows ? taken : null);

/** Seconds of one update of new windows: the backbone, the teacher's whole head, and learning. */
export const updateSeconds = (speeds: Speeds, request: PlanRequest): number =>
  request.perUpdate * (speeds.window + teachingSeconds(speeds, request) + learningSeconds(speeds, request));

/** Seconds in which the final exit's whole head reads a window, once. */
const teachingSeconds = ({ scoring }: Speeds, { distils }: PlanRequest): number => (distils ? scoring : 0);

/** Seconds in which exits learn from a window: products at each exit's head, and of the teacher's classes. */
const learningSeconds = ({ scoring }: Speeds, { distils, headShare }: PlanRequest): number =>
  floatShare * scoring * headShare * (gradientProducts + (distils ? 1 : 0));

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

/** The least work that brings a gain: a small fit, which has its largest share of the time, or some updates. */
const leastWork = ({ fitTokens }: PlanRequest, fitWindow: number, update: number): number =>
  fitTokens === null ? leastUpdates * update : (leastFitWindows * fitWindow) / largestFitShare;

/** The least work with some updates, beside a fit that takes up to its largest share of the time. */
const withUpdates = (wantedFit: number, update: number): number =>
  leastUpdates * update + Math.min(wantedFit, (leastUpdates * update * largestFitShare) / (1 - largestFitShare));
