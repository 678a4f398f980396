/** What an evaluation on tasks reports: plain records that cross every boundary as JSON. */

/** Files by which the folders of a sweep and of judged tasks are known. */
export const sweepFile = 'sweep.json';
export const evaluationFile = 'evaluation.json';

/** The way with which all others are compared. */
export const fullDepth = 'full';

/** One answer that was judged. */
export interface JudgedAnswer {
  /** The set that the task is of, and the task within it. */
  set: string;
  task: string;
  /** `full`, `lossless`, `calibrated`, or a threshold such as `0.85`. */
  way: string;
  answer: string;
  /** From 0 to 1; 1 is right. */
  score: number;
  /** How its code ended: `passed`, `failed`, `time`, `memory`, `forbidden`; null if none was run. */
  ending: string | null;
  tokens: number;
}

/** Whether a difference of scores is certainly above −margin, certainly below it, or neither. */
export type Verdict = 'not-worse' | 'worse' | 'unclear';

export interface WayScore {
  way: string;
  /** That were judged. */
  tasks: number;
  /** Mean of the tasks' scores, from 0 to 1. */
  score: number;
  /** Share of answers that equal full depth's exactly; null if there is none to compare. */
  same: number | null;
  /** Score less that of full depth on the same tasks, with a 95 % interval; null for full depth itself. */
  difference: {
    mean: number;
    low: number;
    high: number;
    /** Number of tasks that only full depth solved (or solved better), and that only this way did. */
    lost: number;
    won: number;
    /** McNemar's exact test, two-sided. */
    p: number;
    /** By the given margin. */
    verdict: Verdict;
  } | null;
  tokens: number;
  /** Null if nothing was written. */
  meanLayer: number | null;
  /** Share of all tokens by the exit that they left at, and by what they are. */
  left: Record<string, Record<string, number>>;
  /** Speed per token relative to full depth, one text at a time and in turn; null if it was not measured. */
  speed: { value: number; low: number; high: number; texts: number } | null;
  tokensPerSecond: number | null;
}

/** Of one set of tasks. */
export interface TaskScores {
  set: string;
  /** Tasks of the set that are evaluated. */
  asked: number;
  layers: number;
  /** Full depth first. */
  ways: WayScore[];
}

/** A difference of scores in points of 100: `−1.2`, `0.0`, `+3.4`. */
export function pointsText(difference: number): string {
  const text = (100 * Math.abs(difference)).toFixed(1);
  return Number(text) === 0 ? text : `${difference < 0 ? '−' : '+'}${text}`;
}

type Interval = { readonly low: number; readonly high: number };

/** A 95 % interval of a difference, in points: `−1.2 … +3.4`. */
export const pointsRange = ({ low, high }: Interval): string => `${pointsText(low)} … ${pointsText(high)}`;

/** A 95 % interval of a speed: `1.10 … 1.42`. */
export const speedRange = ({ low, high }: Interval): string => `${low.toFixed(2)} … ${high.toFixed(2)}`;

/** A speed with its interval: `1.25 (1.10 … 1.42)`. */
export const speedText = (speed: Interval & { readonly value: number }): string =>
  `${speed.value.toFixed(2)} (${speedRange(speed)})`;

export const verdictText = (verdict: Verdict): string => (verdict === 'not-worse' ? 'not worse' : verdict);
