/** When a run of updates evaluates, saves and ends: by its limits, and by how long each of these took so far. Knows neither model nor files. */
import type { Ending, RunLimits, TrainingPosition } from '../checkpoint/state.ts';

export interface PaceSettings {
  readonly limits: RunLimits;
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

/** Bounds on how often the state is written: at most a twentieth of the time, and this number of bytes a second. */
const savePatience = 20;
const saveBytesPerSecond = 2e6;
const evaluationsPerRun = 10;
const looksPerRun = 10;

export interface Pace {
  /** Seconds of the run so far. */
  elapsed(): number;
  /** How long the last evaluation and the last writing took. */
  ending(): Ending;
  /** Share of the run that is done before update `step`, by updates or by time; it never falls. */
  share(step: number): number;
  /** Whether update `step` is one too many. */
  isOver(step: number): boolean;
  isEvaluationDue(step: number): boolean;
  isSaveDue(): boolean;
  /** Looks at the machine; a run comes to its end sooner on one that has become slower. */
  look(): Promise<void>;
  /** An update of `tokens` tokens that began at second `from` is done. */
  updated(from: number, tokens: number): void;
  evaluated(from: number): void;
  /** A state of `numbers` trained numbers, whose writing began at second `from`, is written. */
  saved(from: number, numbers: number): void;
  /** Of the last updates, once `step` updates are done. */
  speed(step: number): {
    readonly tokensPerSecond: number;
    readonly secondsPerStep: number;
    readonly secondsLeft: number;
  };
}

/** The pace of a run that goes on from `start`. `planned`: its updates, if it has a limit in these; `clock`: seconds. */
export function openPace(
  { limits, evaluateEvery, evaluationSeconds = Infinity, late }: PaceSettings,
  planned: number | null,
  start: TrainingPosition,
  clock: () => number,
): Pace {
  const began = clock() - start.seconds;
  const elapsed = (): number => clock() - began;
  const updatesFrom = start.updatesFrom ?? 0;
  const updates = speedometer();
  let until = limits.seconds;
  let lookedAt = -Infinity;
  let ending = start.ending ?? noEnding;
  let evaluationsLeft = evaluationSeconds;
  let evaluatedAt = elapsed();
  let savedAt = elapsed();
  let saveInterval = 0;
  let shareDone = 0;
  return {
    elapsed,
    ending: () => ending,
    share(step) {
      const bySteps = planned === null ? 0 : step / planned;
      const byTime = until === null ? 0 : (elapsed() - updatesFrom) / Math.max(1e-9, until - updatesFrom);
      return (shareDone = Math.min(1, Math.max(shareDone, bySteps, byTime)));
    },
    isOver: (step) =>
      (planned !== null && step >= planned) ||
      !hasTime({ ...limits, seconds: until }, { seconds: elapsed(), ending }, updates.secondsPerStep()),
    isEvaluationDue(step) {
      if (evaluateEvery !== null) return step % evaluateEvery === 0;
      if (planned !== null && step % Math.max(1, Math.round(planned / evaluationsPerRun)) === 0) return true;
      // Never more than a tenth of the time for evaluations, and what is left of it must do for the last.
      if (limits.seconds === null || evaluationsLeft < 2 * ending.evaluation) return false;
      return elapsed() - evaluatedAt >= Math.max(limits.seconds / evaluationsPerRun, 9 * ending.evaluation);
    },
    isSaveDue: () => elapsed() - savedAt >= saveInterval,
    async look() {
      if (limits.seconds === null || !late || elapsed() - lookedAt < limits.seconds / looksPerRun) return;
      until = limits.seconds - (await late());
      lookedAt = elapsed();
    },
    updated: (from, tokens) => updates.add(tokens, elapsed() - from),
    evaluated(from) {
      evaluatedAt = elapsed();
      ending = { ...ending, evaluation: evaluatedAt - from };
      evaluationsLeft -= ending.evaluation;
    },
    saved(from, numbers) {
      savedAt = elapsed();
      ending = { ...ending, saving: savedAt - from };
      // A number and its two moments.
      saveInterval = Math.max(savePatience * ending.saving, (3 * 4 * numbers) / saveBytesPerSecond);
    },
    speed(step) {
      const secondsPerStep = updates.secondsPerStep();
      const byTime = until === null ? Infinity : until - elapsed();
      const bySteps = planned === null ? Infinity : (planned - step) * secondsPerStep;
      const secondsLeft = Math.max(0, Math.min(byTime, bySteps));
      return { tokensPerSecond: updates.tokensPerSecond(), secondsPerStep, secondsLeft };
    },
  };
}

/** Updates over which speed is averaged. */
const recentUpdates = 20;

/** Speed over the last updates; 0 before the first. */
function speedometer() {
  const recent: { readonly tokens: number; readonly seconds: number }[] = [];
  const sum = (key: 'tokens' | 'seconds'): number => recent.reduce((total, update) => total + update[key], 0);
  return {
    add(tokens: number, seconds: number): void {
      recent.push({ tokens, seconds: Math.max(seconds, 1e-9) });
      if (recent.length > recentUpdates) recent.shift();
    },
    tokensPerSecond: (): number => (recent.length === 0 ? 0 : sum('tokens') / sum('seconds')),
    secondsPerStep: (): number => (recent.length === 0 ? 0 : sum('seconds') / recent.length),
  };
}
