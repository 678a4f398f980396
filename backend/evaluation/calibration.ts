/**
 * Thresholds with a promise: with probability `confidence`, tokens that leave early agree with the full model at least as
 * often as asked (learn-then-test; Angelopoulos et al. 2021, and CALM, Schuster et al. 2022). Pure: works on what the exits
 * said, and on what stages and readings cost.
 */

/** One exit's view of the calibration tokens, in the order of the stream. */
export interface ExitView {
  readonly exit: string;
  /** Stages that run before it can be read. */
  readonly stages: number;
  /** Its best real token and that token's probability. */
  readonly token: ArrayLike<number>;
  readonly confidence: ArrayLike<number>;
  /** 1 where a shortlist's defer class won: the token goes on. */
  readonly deferred: ArrayLike<number>;
  /** 1 where a gate keeps the exit from being read; absent: it always is. */
  readonly closed?: ArrayLike<number>;
}

/** Milliseconds on this machine. */
export interface Costs {
  /** Of each stage for one token. */
  readonly stages: readonly number[];
  /** Of each stage for one more token in the same pass: what a deferred token costs later. */
  readonly deferred: readonly number[];
  /** Of reading each exit, the final one last. */
  readonly readings: readonly number[];
  /** Of filling what a token skips that leaves at each exit; null or absent: it runs later, with another token. */
  readonly fills?: readonly (number | null)[];
}

export interface Guarantee {
  /** Least share of tokens that agree with the full model. */
  readonly agreement: number;
  /** Probability that the promise is kept on new text of the same kind. */
  readonly confidence: number;
}

export interface Calibrated {
  /** By exit id; an exit that is missing costs more than it saves and is not asked. */
  readonly thresholds: Readonly<Record<string, number>>;
  /** On the tokens that tested the promise. */
  readonly agreement: number;
  readonly meanStages: number;
  /** Expected time a token at full depth ÷ with these thresholds, by the costs given. */
  readonly speedup: number;
}

/** How precise an exit must be among the tokens that leave there: the one number that the test moves along. */
const precisions = [
  ...Array.from({ length: 20 }, (_, i) => 1 - i * 0.0005),
  ...Array.from({ length: 80 }, (_, i) => 0.99 - i * 0.005),
];

/** A set of exits is a candidate beside the fastest single one where it should be so many times as fast: to test and try it costs, too. */
const leastGainOfSet = 1.02;

/**
 * Candidates, at most two: costs are estimates, so the clock should decide between the fastest single exit and the fastest set
 * of any size. The first half of the tokens chooses them, from thresholds for every set and precision. The second half
 * tests the path of each from the strictest thresholds on and stops at the first that fails, so no correction for the
 * many tests of a path is needed; that there may be two paths is corrected for (Bonferroni). Tokens are taken as independent.
 * Empty where nothing pays or nothing passes.
 */
export function calibrate(
  exits: readonly ExitView[],
  final: ArrayLike<number>,
  costs: Costs,
  promise: Guarantee,
): Calibrated[] {
  const { learn, test } = halvesOf(final.length);
  const sorted = sortedTokens(exits, learn);

  const sets = fastestSets(exits, final, costs, promise.agreement, learn, sorted).map(({ asked }) => asked);
  const full = timeOf(exits, final, costs, new Map(), test).milliseconds;
  const tested = (asked: readonly number[]): Calibrated | null => {
    let chosen: Calibrated | null = null;
    for (const precision of precisions) {
      const thresholds = thresholdsFor(exits, final, asked, precision, sorted);
      const result = timeOf(exits, final, costs, thresholds, test);
      const pValue = binomialTail(test.to - test.from, result.wrong, 1 - promise.agreement);
      if (pValue > (1 - promise.confidence) / sets.length) break;
      const speedup = full / result.milliseconds;
      if (speedup > (chosen?.speedup ?? 1)) {
        chosen = {
          thresholds: named(exits, thresholds),
          agreement: result.agreement,
          meanStages: result.meanStages,
          speedup,
        };
      }
    }
    return chosen;
  };
  return sets.map(tested).filter((found) => found !== null);
}

/**
 * Candidates that nothing has tested, at most two, the more cautious first: the thresholds of the fastest single exit and of the fastest
 * set that agree so often on the very tokens that choose them.
 */
export function likely(
  exits: readonly ExitView[],
  final: ArrayLike<number>,
  costs: Costs,
  agreement: number,
): Pick<Calibrated, 'thresholds'>[] {
  const all = { from: 0, to: final.length };
  const found = fastestSets(exits, final, costs, agreement, all, sortedTokens(exits, all));
  return found.map(({ thresholds }) => ({ thresholds: named(exits, thresholds) }));
}

interface FoundSet {
  readonly asked: readonly number[];
  readonly thresholds: ReadonlyMap<number, number>;
  readonly milliseconds: number;
}

/** Of single exits, and of sets of any size where one should be faster, the fastest that agrees so often on these tokens. */
function fastestSets(
  exits: readonly ExitView[],
  final: ArrayLike<number>,
  costs: Costs,
  least: number,
  range: Range,
  sorted: readonly Int32Array[],
): FoundSet[] {
  const { milliseconds: none } = timeOf(exits, final, costs, new Map(), range);
  let single: FoundSet = { asked: [], thresholds: new Map(), milliseconds: none };
  let any = single;
  for (const asked of subsets(exits.length)) {
    for (const precision of precisions) {
      const thresholds = thresholdsFor(exits, final, asked, precision, sorted);
      const { agreement, milliseconds } = timeOf(exits, final, costs, thresholds, range);
      if (agreement < least) continue;
      if (asked.length === 1 && milliseconds < single.milliseconds) single = { asked, thresholds, milliseconds };
      if (milliseconds < any.milliseconds) any = { asked, thresholds, milliseconds };
    }
  }
  const isSetWorth = any.milliseconds * leastGainOfSet <= single.milliseconds;
  return (isSetWorth ? [single, any] : [single]).filter(
    ({ asked }, i, all) => asked.length > 0 && (i === 0 || asked.join() !== all[0]!.asked.join()),
  );
}

const named = (exits: readonly ExitView[], thresholds: ReadonlyMap<number, number>): Calibrated['thresholds'] =>
  Object.fromEntries([...thresholds].map(([k, threshold]) => [exits[k]!.exit, threshold]));

interface Range {
  readonly from: number;
  readonly to: number;
}

/** Tokens that choose, and those that test. */
export function halvesOf(tokens: number): { readonly learn: Range; readonly test: Range } {
  const half = Math.floor(tokens / 2);
  return { learn: { from: 0, to: half }, test: { from: half, to: tokens } };
}

/** Milliseconds that a token saves that leaves at exit k, behind so many stages; the final reading included. */
export const savedBy = (costs: Costs, k: number, stages: number): number =>
  total(costs.stages.slice(stages)) - laterBy(costs, k, stages) + costs.readings.at(-1)!;

/** Milliseconds that such a token takes for the stages behind. */
const laterBy = ({ fills, deferred }: Costs, k: number, stages: number): number =>
  fills?.[k] ?? total(deferred.slice(stages));

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

/**
 * Fewest tokens on which a promise can be tested at all: half of them test, and where every one of those agrees, the least rate that is
 * then ruled out must be the promised one, for two candidates.
 */
export const fewestTokens = ({ agreement, certainty }: { agreement: number; certainty: number }): number =>
  agreement >= 1 ? 0 : 2 * Math.ceil(Math.log((1 - certainty) / 2) / Math.log(agreement));

/** Chance of leaving at exit k from which reading it pays: its cost ÷ what leaving saves. */
export function leastChance(costs: Costs, k: number, stages: number): number {
  const saved = savedBy(costs, k, stages);
  return saved > 0 ? Math.min(1, costs.readings[k]! / saved) : 1;
}

/** What decoding with these thresholds (and gates) would have said and cost; unless others are named, over the tokens that test a promise. */
export function outcomeOf(
  exits: readonly ExitView[],
  final: ArrayLike<number>,
  costs: Costs,
  thresholds: Readonly<Record<string, number>>,
  range: Range = halvesOf(final.length).test,
): Pick<Calibrated, 'agreement' | 'speedup'> {
  const byNumber = new Map(
    exits.flatMap(({ exit }, k) => (exit in thresholds ? [[k, thresholds[exit]!] as const] : [])),
  );
  const full = timeOf(exits, final, costs, new Map(), range).milliseconds;
  const { agreement, milliseconds } = timeOf(exits, final, costs, byNumber, range);
  return { agreement, speedup: full / milliseconds };
}

/** Token numbers of a range by falling confidence of each exit. */
const sortedTokens = (exits: readonly ExitView[], { from, to }: Range): Int32Array[] =>
  exits.map(({ confidence }) =>
    Int32Array.from({ length: to - from }, (_, i) => from + i).sort((a, b) => confidence[b]! - confidence[a]!),
  );

/** By exit: the lowest confidence above which it is as precise as asked among the tokens that still come to it. */
function thresholdsFor(
  exits: readonly ExitView[],
  final: ArrayLike<number>,
  asked: readonly number[],
  precision: number,
  sorted: readonly Int32Array[],
): Map<number, number> {
  const thresholds = new Map<number, number>();
  const hasLeft = new Uint8Array(final.length);
  for (const k of asked) {
    const { token, confidence, deferred } = exits[k]!;
    const sure = sorted[k]!.filter((i) => !deferred[i] && !hasLeft[i]);
    let right = 0;
    let leaving = 0;
    for (const [n, i] of sure.entries()) {
      if (token[i] === final[i]) right++;
      // Equal confidences leave together.
      const isLast = n + 1 === sure.length || confidence[sure[n + 1]!]! < confidence[i]!;
      if (isLast && confidence[i]! < 1 && right / (n + 1) >= precision) leaving = n + 1;
    }
    if (leaving === 0) continue;
    thresholds.set(k, confidence[sure[leaving - 1]!]!);
    for (const i of sure.subarray(0, leaving)) hasLeft[i] = 1;
  }
  return thresholds;
}

/** What decoding these tokens with these thresholds would have cost and said. */
function timeOf(
  exits: readonly ExitView[],
  final: ArrayLike<number>,
  costs: Costs,
  thresholds: ReadonlyMap<number, number>,
  range: Range,
): { milliseconds: number; agreement: number; wrong: number; meanStages: number } {
  const all = costs.stages.length;
  const upTo = running(costs.stages);
  const later = exits.map(({ stages: ran }, k) => laterBy(costs, k, ran));
  let milliseconds = 0;
  let wrong = 0;
  let stages = 0;
  for (let i = range.from; i < range.to; i++) {
    let reading = 0;
    let left: ExitView | null = null;
    let after = 0;
    for (const [k, threshold] of thresholds) {
      const exit = exits[k]!;
      if (exit.closed?.[i]) continue;
      reading += costs.readings[k]!;
      if (!exit.deferred[i] && exit.confidence[i]! >= threshold) {
        left = exit;
        after = later[k]!;
        break;
      }
    }
    const ran = left ? left.stages : all;
    milliseconds += upTo[ran]! + after + reading + (left ? 0 : costs.readings.at(-1)!);
    if (left && left.token[i] !== final[i]) wrong++;
    stages += ran;
  }
  const tokens = range.to - range.from;
  return { milliseconds: milliseconds / tokens, agreement: 1 - wrong / tokens, wrong, meanStages: stages / tokens };
}

/** Sums of the first 0, 1 … n. */
const running = (values: readonly number[]): number[] => {
  const sums = [0];
  for (const value of values) sums.push(sums.at(-1)! + value);
  return sums;
};

/** Every set of exits in their order; of many exits only sets of up to three, which are all that ever paid. */
function subsets(count: number): number[][] {
  const sets: number[][] = [[]];
  for (let k = 0; k < count; k++)
    sets.push(...sets.filter((set) => count <= 8 || set.length < 3).map((set) => [...set, k]));
  return sets.filter((set) => set.length > 0);
}

/** P(Binomial(n, p) ≤ x): how likely so few errors are if the true rate is p. */
export function binomialTail(n: number, x: number, p: number): number {
  if (p <= 0) return 1;
  if (x >= n) return 1;
  let logTerm = n * Math.log1p(-p);
  let sum = Math.exp(logTerm);
  for (let k = 1; k <= x; k++) {
    logTerm += Math.log((n - k + 1) / k) + Math.log(p) - Math.log1p(-p);
    sum += Math.exp(logTerm);
  }
  return Math.min(1, sum);
}
