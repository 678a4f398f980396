/**
 * Thresholds with a promise, which new text keeps with the requested probability (learn-then-test; Angelopoulos et al. 2021, and CALM,
 * Schuster et al. 2022). Pure: uses only the exits' predictions, and the costs of stages and readouts.
 */
import { logOdds, raised } from '../../decoding/leaving/hints.ts';
import type { Promised } from '../../../protocol/options/promise.ts';
import type { Figure } from '../../../protocol/brought.ts';
import { fitLogistic, type Prior, type Row } from './logistic.ts';
import { mean } from '../tasks/statistics.ts';
import { chanceOf, fewestTested, judgedBy, lossOf, lossOfMany, type Guarantee } from './promise.ts';

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
  /** Whether it predicts the text's hints alone (evaluation/calibration/trust.ts), so that no head is read. */
  readonly isHint?: boolean;
}

/** Milliseconds on this machine, and nats. */
export interface Costs {
  /** Of each stage for one token. */
  readonly stages: readonly number[];
  /** Of each stage for one more token in the same pass: what a deferred token costs later. */
  readonly deferred: readonly number[];
  /** Of reading each exit, the final one last. */
  readonly readings: readonly number[];
  /** Of filling what a token skips that leaves at each exit; null or absent: it runs later, with another token. */
  readonly fills?: readonly (number | null)[];
  /** Nats that later tokens lose on average by the filled entries of a token that leaves at each exit (`damageBy`); absent: none. */
  readonly damages?: readonly number[];
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

/** Prices that are tried, ascending: the loss, from 0 to 1, that is paid for the time of a whole token at full depth. Some suit any promise. */
const prices = Array.from({ length: 100 }, (_, i) => 1e-5 * 1.15 ** i);

/** An exit should make a token at least this many times as fast: costs are estimates. */
const leastGainOfExit = 1.003;

/**
 * A candidate that is expected to pay and keeps the promise with the exact cache; null if there is none. The first half of the tokens chooses
 * thresholds at each price. The second half tests them from the lowest price on and stops at the first that fails, so no correction for
 * the number of tests is needed. Tokens are taken as independent.
 */
export function calibrate(
  exits: readonly ExitView[],
  costs: Costs,
  { promise, certainty }: Guarantee,
): Calibrated | null {
  const { learn, test } = halvesOf(tokensOf(exits));
  let chosen: Calibrated | null = null;
  for (const { thresholds } of pricedCandidates(exits, costs, promise, learn)) {
    const { losses, outcome } = tried(exits, costs, promise, thresholds, test);
    if (chanceOf(promise, losses) > 1 - certainty) break;
    if (outcome.speedup > (chosen?.speedup ?? 1)) chosen = { thresholds, ...outcome };
  }
  return chosen;
}

/** Thresholds for one price, and what they are expected to bring. */
export interface Priced {
  readonly thresholds: Calibrated['thresholds'];
  /** Mean loss of all tokens, from 0 to 1. */
  readonly loss: number;
  /** Of a token. */
  readonly milliseconds: number;
}

/**
 * Candidates for rising prices, chosen on these tokens; those that are no faster than full depth are left out. A token leaves at an exit if the
 * loss that is expected there is less than the price of the time that leaving saves: of all thresholds that lose as much, these save most time.
 * The expected loss follows from how sure the exit is (`riskOf`), and from the damage of filled entries to later tokens. Thresholds by the few losses beyond them would be the luckiest ones.
 */
export function pricedCandidates(
  exits: readonly ExitView[],
  costs: Costs,
  promise: Promised,
  range: Range = { from: 0, to: tokensOf(exits) },
): Priced[] {
  const full = fullPass(costs);
  const risks = exits.map((exit) => riskOf(exit, promise, range));
  const saved = exits.map(({ stages }, k) => savedBy(costs, k, stages));
  const damages = exits.map((_, k) => lossOfMany(promise, costs.damages?.[k] ?? 0));
  const expected = exits.map(({ confidence }, k) =>
    Float64Array.from(confidence, (sure) => damages[k]! + lossBy(risks[k]!, sure)),
  );
  const valued = (price: number, thresholds: ReadonlyMap<number, number>) => {
    const { milliseconds, left } = decoded(exits, costs, thresholds, range);
    const loss = mean(Array.from(left, (k, at) => (k < 0 ? 0 : expected[k]![range.from + at]!)));
    return { thresholds, milliseconds, loss, value: milliseconds + (loss / price) * full };
  };
  return prices.flatMap((price) => {
    const all = risks.map((risk, k) => surenessAt(risk, (price * saved[k]!) / full - damages[k]!));
    let best = valued(price, new Map([...all.entries()].filter(([, threshold]) => threshold < 1)));
    for (;;) {
      const without = [...best.thresholds.keys()].map((k) => valued(price, omit(best.thresholds, k)));
      const cheapest = without.sort((a, b) => a.value - b.value)[0];
      if (!cheapest || cheapest.value > best.value * leastGainOfExit) break;
      best = cheapest;
    }
    const { milliseconds, loss, thresholds } = best;
    return thresholds.size > 0 && milliseconds < full
      ? [{ thresholds: named(exits, thresholds), loss, milliseconds }]
      : [];
  });
}

/** The fastest of these candidates that are expected to lose at most `allowed`; null if there is none. */
export const fastestLosing = (allowed: number, candidates: readonly Priced[]): Priced | null =>
  candidates
    .filter(({ loss }) => loss <= allowed)
    .reduce<Priced | null>((best, one) => (best && best.milliseconds <= one.milliseconds ? best : one), null);

const omit = (thresholds: ReadonlyMap<number, number>, k: number): Map<number, number> =>
  new Map([...thresholds].filter(([other]) => other !== k));

/** Of the log-odds that a token loses nothing: `bias` + `slope` × the log-odds of its confidence. */
interface Risk {
  readonly bias: number;
  readonly slope: number;
}

/** Predictions of which an exit is less sure do not count: no token leaves by them, and their regret may be unknown (decoding/leaving/observe.ts). */
export const leastConfidence = 0.5;
/** A confidence is taken at its word, as far as little text says otherwise. */
const prior: Prior = { expected: [0, 1], spread: [1, 0.3] };

/** Fitted on these tokens; of a hint the confidence is what was fitted (evaluation/calibration/trust.ts). */
function riskOf({ confidence, deferred, regret, isHint }: ExitView, promise: Promised, { from, to }: Range): Risk {
  if (isHint) return { bias: 0, slope: 1 };
  const rows: Row[] = [];
  for (let i = from; i < to; i++)
    if (!deferred[i] && confidence[i]! >= leastConfidence)
      rows.push({ x: [1, logOdds(confidence[i]!)], y: 1 - lossOf(promise, regret[i]!) });
  const [bias, slope] = fitLogistic(rows, prior);
  return { bias: bias!, slope: Math.max(leastSlope, slope!) };
}
/** A surer exit is never expected to lose more. */
const leastSlope = 0.1;

/** The loss expected of a token that leaves with this confidence. */
const lossBy = ({ bias, slope }: Risk, confidence: number): number =>
  1 - raised(0.5, bias + slope * logOdds(confidence));

/** The least confidence of which no more than `loss` is expected; 1: there is none. */
function surenessAt({ bias, slope }: Risk, loss: number): number {
  if (loss <= 0) return 1;
  const sure = raised(0.5, (logOdds(1 - loss) - bias) / slope);
  return sure < mostSure ? sure : 1;
}
/** Log-odds end there (decoding/leaving/hints.ts). */
const mostSure = 1 - 1e-6;

const named = (exits: readonly ExitView[], thresholds: ReadonlyMap<number, number>): Calibrated['thresholds'] =>
  Object.fromEntries([...thresholds].map(([k, threshold]) => [exits[k]!.exit, threshold]));

const numbered = (exits: readonly ExitView[], thresholds: Calibrated['thresholds']): Map<number, number> =>
  new Map(exits.flatMap(({ exit }, k) => (exit in thresholds ? [[k, thresholds[exit]!] as const] : [])));

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
 * must be ruled out.
 */
export const fewestTokens = ({ promise, certainty }: Guarantee): number => 2 * fewestTested(promise, 1 - certainty);

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
  return tried(exits, costs, promise, thresholds, range).outcome;
}

/** The same, with the loss of each token. */
function tried(
  exits: readonly ExitView[],
  costs: Costs,
  promise: Promised,
  thresholds: Readonly<Record<string, number>>,
  range: Range,
): { readonly outcome: Outcome; readonly losses: readonly number[] } {
  const { milliseconds, left } = decoded(exits, costs, numbered(exits, thresholds), range);
  const regrets = Array.from(left, (k, at) => (k < 0 ? 0 : exits[k]!.regret[range.from + at]!));
  const losses = regrets.map((regret) => lossOf(promise, regret));
  const outcome = { loss: mean(losses), ...judgedBy(regrets), speedup: fullPass(costs) / milliseconds };
  return { losses, outcome };
}

interface Decoded {
  /** Of a token. */
  readonly milliseconds: number;
  /** The exit at which each token of the range leaves; −1: it does not. */
  readonly left: Int32Array;
}

/** Decoding these tokens with these thresholds. */
function decoded(
  exits: readonly ExitView[],
  costs: Costs,
  thresholds: ReadonlyMap<number, number>,
  { from, to }: Range,
): Decoded {
  const full = fullPass(costs);
  const leaving = exits.map(({ stages }, k) => leavingTime(costs, k, stages));
  const left = new Int32Array(to - from).fill(-1);
  let milliseconds = 0;
  for (let i = from; i < to; i++) {
    let time = full;
    for (const [k, threshold] of thresholds) {
      const exit = exits[k]!;
      if (exit.closed?.[i]) continue;
      milliseconds += costs.readings[k]!;
      if (!exit.deferred[i] && exit.confidence[i]! >= threshold) {
        left[i - from] = k;
        time = leaving[k]!;
        break;
      }
    }
    milliseconds += time;
  }
  return { milliseconds: milliseconds / (to - from), left };
}
