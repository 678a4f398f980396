/**
 * Thresholds with a promise, which new text keeps with the requested probability (learn-then-test; Angelopoulos et al. 2021, and CALM,
 * Schuster et al. 2022). Pure: uses only the exits' predictions, and the costs of stages and readouts.
 */
import type { Promised } from '../../protocol/options-promise.ts';
import type { Figure } from '../../protocol/brought.ts';
import { allowedLoss, chanceOf, fewestTested, judgedBy, lossOf, type Guarantee } from './promise.ts';

/** One exit's view of the calibration tokens, in the order of the stream. */
export interface ExitView {
  readonly exit: string;
  /** Stages that run before it can be read. */
  readonly stages: number;
  /** Regret of the exit's best real token: log p(best) − log p(token) of the full model, 0 if it is the full model's own choice; nats. */
  readonly regret: ArrayLike<number>;
  /** That token's probability. */
  readonly confidence: ArrayLike<number>;
  /** 1 if a shortlist's defer class won: the token continues. */
  readonly deferred: ArrayLike<number>;
  /** 1 if a gate keeps the exit from being read; absent: it is always read. */
  readonly closed?: ArrayLike<number>;
  /** Whether it predicts the text's hints alone (evaluation/trust.ts), so that no head is read. */
  readonly isHint?: boolean;
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

export interface Calibrated extends Outcome {
  /** By exit id; an exit without a threshold costs more than it saves and is not used. */
  readonly thresholds: Readonly<Record<string, number>>;
}

/** Loss and cost of decoding; for a `Calibrated`, on the tokens that tested the promise. */
export interface Outcome {
  /** Mean loss under the promise, from 0 to 1. */
  readonly loss: number;
  /** Share of tokens that are the full model's own choice, and nats that a token costs. */
  readonly agreement: Figure;
  readonly regret: Figure;
  /** Expected time of a token at full depth ÷ that with these thresholds, by the given costs. */
  readonly speedup: number;
}

/**
 * The steps of a path of the test: values for the mean loss of the tokens that leave at one exit. They lie around the loss that is allowed
 * on average over all tokens. If several losses are allowed in turn, `allowed` is the least of them.
 */
function lossesTried(allowed: number): number[] {
  const losses = [0];
  for (let loss = Math.max(allowed / 20, leastLoss); loss < mostLoss; loss *= 1.07) losses.push(loss);
  return losses;
}
/** Of some thousand tokens a smaller mean is none. */
const leastLoss = 1e-7;
const mostLoss = 0.5;

/** Each further exit of a set should make it at least this many times as fast: costs are estimates, and testing and trying it costs, too. */
const leastGainOfExit = 1.01;

/**
 * Candidates, at most two: costs are estimates, so the clock should decide between the fastest single exit and the fastest set
 * of any size. The first half of the tokens chooses them, from thresholds for every set and loss. The second half
 * tests the path of each from the strictest thresholds on and stops at the first that fails, so no correction for the
 * many tests of a path is needed; that there may be two paths is corrected for (Bonferroni). Tokens are taken as independent.
 * Empty if nothing pays or nothing passes.
 */
export function calibrate(exits: readonly ExitView[], costs: Costs, { promise, certainty }: Guarantee): Calibrated[] {
  const { learn, test } = halvesOf(tokensOf(exits));
  const sorted = sortedTokens(exits, learn);

  const allowed = allowedLoss(promise);
  const losses = lossesTried(allowed);
  const sets = fastestOf(triedSets(exits, costs, promise, losses, allowed, sorted), allowed).map(({ used }) => used);
  const full = timeOf(exits, costs, promise, new Map(), test).milliseconds;
  const tested = (used: readonly number[]): Calibrated | null => {
    let chosen: Calibrated | null = null;
    for (const loss of losses) {
      const { thresholds } = leavingWith(exits, costs, promise, used, loss, sorted);
      const result = timeOf(exits, costs, promise, thresholds, test);
      if (chanceOf(promise, result.losses) > (1 - certainty) / sets.length) break;
      const speedup = full / result.milliseconds;
      if (speedup > (chosen?.speedup ?? 1))
        chosen = { thresholds: named(exits, thresholds), ...outcome(result), speedup };
    }
    return chosen;
  };
  return sets.map(tested).filter((found) => found !== null);
}

/** A candidate that is not tested. */
type Likely = Pick<Calibrated, 'thresholds'> & { readonly milliseconds: number };

/**
 * For a mean loss between `least` and `most`: the thresholds with which the fastest exit, or set of exits, loses as much on the same tokens that
 * choose them, and the expected time of a token; null if nothing pays.
 */
export function likely(
  exits: readonly ExitView[],
  costs: Costs,
  promise: Promised,
  least: number,
  most: number,
): (allowed: number) => Likely | null {
  const sorted = sortedTokens(exits, { from: 0, to: tokensOf(exits) });
  const tried = triedSets(exits, costs, promise, lossesTried(least), most, sorted);
  return (allowed) => {
    const found = fastestOf(tried, allowed).at(-1);
    return found ? { thresholds: named(exits, found.thresholds), milliseconds: found.milliseconds } : null;
  };
}

/** Thresholds of a set of exits, and what they bring on the tokens that choose them. */
interface TriedSet {
  readonly used: readonly number[];
  readonly thresholds: ReadonlyMap<number, number>;
  readonly loss: number;
  readonly milliseconds: number;
}

/**
 * Every exit and every set of exits at each of these losses, if they make a token faster. An exit that does not pay alone, for a loss of `most`,
 * is in no set: tokens that have left before it are those that would leave there.
 */
function triedSets(
  exits: readonly ExitView[],
  costs: Costs,
  promise: Promised,
  losses: readonly number[],
  most: number,
  sorted: readonly Int32Array[],
): TriedSet[] {
  const full = fullPass(costs);
  const tried = (used: readonly number[]): TriedSet[] =>
    losses
      .map((loss) => ({ used, ...leavingWith(exits, costs, promise, used, loss, sorted) }))
      .filter(({ loss, milliseconds }) => loss <= most && milliseconds < full);
  const singles = exits.map((_, k) => tried([k]));
  const paying = [...singles.keys()].filter((k) => singles[k]!.length > 0);
  return [...singles, ...setsOf(paying).map(tried)].flat();
}

/** The fastest single exit that loses at most `allowed`, and the fastest set if that is expected to be faster. */
function fastestOf(tried: readonly TriedSet[], allowed: number): TriedSet[] {
  const [single, ...others] = tried
    .filter(({ loss }) => loss <= allowed)
    .sort((a, b) => a.used.length - b.used.length || a.milliseconds - b.milliseconds);
  if (single === undefined) return [];
  const set = others.reduce((best, one) => {
    const further = one.used.length - best.used.length;
    return one.milliseconds * leastGainOfExit ** further < best.milliseconds ? one : best;
  }, single);
  return set === single ? [single] : [single, set];
}

const named = (exits: readonly ExitView[], thresholds: ReadonlyMap<number, number>): Calibrated['thresholds'] =>
  Object.fromEntries([...thresholds].map(([k, threshold]) => [exits[k]!.exit, threshold]));

const tokensOf = (exits: readonly ExitView[]): number => exits[0]?.confidence.length ?? 0;

interface Range {
  readonly from: number;
  readonly to: number;
}

/** Tokens that choose, and those that test. */
export function halvesOf(tokens: number): { readonly learn: Range; readonly test: Range } {
  const half = Math.floor(tokens / 2);
  return { learn: { from: 0, to: half }, test: { from: half, to: tokens } };
}

/** Milliseconds of a token at full depth. */
export const fullPass = ({ stages, readings }: Costs): number => total(stages) + readings.at(-1)!;

/** Milliseconds saved by a token that leaves at exit k, behind `stages` stages; reading the final exit included. */
export const savedBy = (costs: Costs, k: number, stages: number): number =>
  total(costs.stages.slice(stages)) - laterBy(costs, k, stages) + costs.readings.at(-1)!;

/** Milliseconds of such a token, readings apart. */
const leavingTime = (costs: Costs, k: number, stages: number): number =>
  total(costs.stages.slice(0, stages)) + laterBy(costs, k, stages);

/** Milliseconds that the later stages take for such a token. */
const laterBy = ({ fills, deferred }: Costs, k: number, stages: number): number =>
  fills?.[k] ?? total(deferred.slice(stages));

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

/**
 * Fewest tokens on which a promise can be tested at all. Half of them test it. If none of those loses anything, a loss larger than allowed
 * must be ruled out, for two candidates.
 */
export const fewestTokens = ({ promise, certainty }: Guarantee): number =>
  2 * fewestTested(promise, (1 - certainty) / 2);

/** Chance of leaving at exit k from which reading it pays: its cost ÷ what leaving saves. */
export function leastChance(costs: Costs, k: number, stages: number): number {
  const saved = savedBy(costs, k, stages);
  return saved > 0 ? Math.min(1, costs.readings[k]! / saved) : 1;
}

/** Loss and cost of decoding with these thresholds (and gates); by default over the tokens that test a promise. */
export function outcomeOf(
  exits: readonly ExitView[],
  costs: Costs,
  promise: Promised,
  thresholds: Readonly<Record<string, number>>,
  range: Range = halvesOf(tokensOf(exits)).test,
): Outcome {
  const byNumber = new Map(
    exits.flatMap(({ exit }, k) => (exit in thresholds ? [[k, thresholds[exit]!] as const] : [])),
  );
  const full = timeOf(exits, costs, promise, new Map(), range).milliseconds;
  const found = timeOf(exits, costs, promise, byNumber, range);
  return { ...outcome(found), speedup: full / found.milliseconds };
}

const outcome = ({ loss, regrets }: Timed): Omit<Outcome, 'speedup'> => ({ loss, ...judgedBy(regrets) });

/** Token numbers of a range by falling confidence of each exit. */
const sortedTokens = (exits: readonly ExitView[], { from, to }: Range): Int32Array[] =>
  exits.map(({ confidence }) =>
    Int32Array.from({ length: to - from }, (_, i) => from + i).sort((a, b) => confidence[b]! - confidence[a]!),
  );

/**
 * For each of the `used` exits, in their order, the lowest confidence above which the tokens that still reach it lose at most `most` on average;
 * with the mean loss of all tokens, and the time of one.
 */
function leavingWith(
  exits: readonly ExitView[],
  costs: Costs,
  promise: Promised,
  used: readonly number[],
  most: number,
  sorted: readonly Int32Array[],
): Omit<TriedSet, 'used'> {
  const thresholds = new Map<number, number>();
  const hasLeft = new Uint8Array(tokensOf(exits));
  const tokens = sorted[0]!.length;
  let [reaching, loss, milliseconds] = [tokens, 0, 0];
  for (const k of used) {
    const { stages, regret, confidence, deferred } = exits[k]!;
    const sure = sorted[k]!.filter((i) => !deferred[i] && !hasLeft[i]);
    let [lost, leaving, lostByLeaving] = [0, 0, 0];
    for (let n = 0; n < sure.length; n++) {
      const i = sure[n]!;
      lost += lossOf(promise, regret[i]!);
      // Equal confidences leave together.
      const isLast = n + 1 === sure.length || confidence[sure[n + 1]!]! < confidence[i]!;
      if (isLast && confidence[i]! < 1 && lost / (n + 1) <= most) [leaving, lostByLeaving] = [n + 1, lost];
    }
    if (leaving === 0) continue;
    thresholds.set(k, confidence[sure[leaving - 1]!]!);
    for (const i of sure.subarray(0, leaving)) hasLeft[i] = 1;
    milliseconds += reaching * costs.readings[k]! + leaving * leavingTime(costs, k, stages);
    reaching -= leaving;
    loss += lostByLeaving;
  }
  milliseconds += reaching * fullPass(costs);
  return { thresholds, loss: loss / tokens, milliseconds: milliseconds / tokens };
}

interface Timed {
  readonly milliseconds: number;
  readonly loss: number;
  /** Of each token of the range. */
  readonly losses: Float64Array;
  readonly regrets: Float64Array;
}

/** Cost and loss of decoding these tokens with these thresholds. */
function timeOf(
  exits: readonly ExitView[],
  costs: Costs,
  promise: Promised,
  thresholds: ReadonlyMap<number, number>,
  range: Range,
): Timed {
  const full = fullPass(costs);
  const leaving = exits.map(({ stages }, k) => leavingTime(costs, k, stages));
  const tokens = range.to - range.from;
  const losses = new Float64Array(tokens);
  const regrets = new Float64Array(tokens);
  let milliseconds = 0;
  let loss = 0;
  for (let i = range.from; i < range.to; i++) {
    let reading = 0;
    let left: ExitView | null = null;
    let time = full;
    for (const [k, threshold] of thresholds) {
      const exit = exits[k]!;
      if (exit.closed?.[i]) continue;
      reading += costs.readings[k]!;
      if (!exit.deferred[i] && exit.confidence[i]! >= threshold) {
        left = exit;
        time = leaving[k]!;
        break;
      }
    }
    milliseconds += reading + time;
    const at = i - range.from;
    regrets[at] = left ? left.regret[i]! : 0;
    losses[at] = lossOf(promise, regrets[at]);
    loss += losses[at];
  }
  return { milliseconds: milliseconds / tokens, loss: loss / tokens, losses, regrets };
}

/** Every set of two or more of these exits, in their order; of many exits only sets of up to three, so that there are not too many. */
function setsOf(exits: readonly number[]): number[][] {
  const sets: number[][] = [[]];
  for (const k of exits)
    sets.push(...sets.filter((set) => exits.length <= 8 || set.length < 3).map((set) => [...set, k]));
  return sets.filter((set) => set.length > 1);
}
