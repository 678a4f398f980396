/** Calibration on made-up exits whose truth is known. */
import { expect, test } from 'vitest';
import { seededRandom } from '../../../../backend/decoding/sampling/random.ts';
import {
  calibrate,
  fastestLosing,
  fullPass,
  outcomeOf,
  pricedCandidates,
  type Costs,
  type ExitView,
} from '../../../../backend/evaluation/calibration/calibration.ts';
import type { Promised } from '../../../../protocol/options/promise.ts';

const costs: Costs = { stages: [4, 4, 4], deferred: [0.5, 0.5, 0.5], readings: [0.3, 0.3, 1] };
const random = seededRandom(6);

/** Exits that are right as often as `chance` says of their confidence. */
function saying(tokens: number, chance: (sure: number) => number): ExitView[] {
  return [1, 2].map((stages): ExitView => {
    const confidence = Array.from({ length: tokens }, () => random() ** (1 / stages));
    const regret = confidence.map((sure) => (random() < chance(sure) ? 0 : 2 * random()));
    return { exit: `${stages}:norm`, stages, regret, confidence, deferred: confidence.map(() => 0) };
  });
}

/** Exits that are right more often than they are sure, times `honesty`. */
const madeUp = (tokens: number, honesty: number): ExitView[] => saying(tokens, (sure) => sure ** 0.1 * honesty);

/** Exits that are right as often as they are sure. */
const honest = (tokens: number): ExitView[] => saying(tokens, (sure) => sure);

/** Regrets of decoding with these thresholds. */
const regretsOf = (exits: readonly ExitView[], thresholds: Readonly<Record<string, number>>): number[] =>
  Array.from(exits[0]!.confidence, (_, i) => {
    const left = exits.find((e) => e.exit in thresholds && e.confidence[i]! >= thresholds[e.exit]!);
    return left ? left.regret[i]! : 0;
  });

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
const agreementOf = (regrets: readonly number[]): number => mean(regrets.map((regret) => Number(regret === 0)));

const agreement = (limit: number): Promised => ({ measure: 'agreement', limit });

test.each([
  ['agreement', agreement(0.95)],
  ['regret', { measure: 'regret', limit: 0.05 }],
] as const)('a promised %s is kept on new tokens, nearly always', (measure, promise) => {
  let broken = 0;
  let speedup = 0;
  const trials = 40;
  for (let trial = 0; trial < trials; trial++) {
    const found = calibrate(madeUp(1000, 1), costs, { promise, certainty: 0.9 });
    const { thresholds = {}, speedup: gained = 1 } = found ?? {};
    const regrets = regretsOf(madeUp(10_000, 1), thresholds);
    const kept = measure === 'agreement' ? agreementOf(regrets) >= promise.limit : mean(regrets) <= promise.limit;
    if (!kept) broken++;
    speedup += gained / trials;
  }
  expect(broken / trials).toBeLessThanOrEqual(0.1);
  expect(speedup).toBeGreaterThan(1.2);
});

test('an exit that is often wrong is not left at', () => {
  const exits = madeUp(3000, 0.5);
  expect(calibrate(exits, costs, { promise: agreement(0.99), certainty: 0.95 })).toBeNull();
});

test('an exit that costs more than it saves is not asked', () => {
  const exits = madeUp(3000, 1);
  const dear = { ...costs, readings: [20, 0.3, 1] };
  const found = calibrate(exits, dear, { promise: agreement(0.9), certainty: 0.95 });
  expect(Object.keys(found!.thresholds)).toEqual(['2:norm']);
});

test('a token outside the shortlist never counts as having left', () => {
  const exits = madeUp(3000, 1);
  const deferring = exits.map((exit) => ({ ...exit, deferred: Array.from(exit.confidence, () => 1) }));
  expect(calibrate(deferring, costs, { promise: agreement(0.5), certainty: 0.9 })).toBeNull();
});

test('several exits are used if each makes a token faster', () => {
  const cheap = { ...costs, readings: [0.01, 0.01, 1] };
  const promised = { promise: agreement(0.96), certainty: 0.9 };
  const exits = madeUp(4000, 1);
  const found = calibrate(exits, cheap, promised)!;
  expect(Object.keys(found.thresholds)).toEqual(['1:norm', '2:norm']);
  const alone = exits.map((_, k) => calibrate([exits[k]!], { ...cheap, readings: [0.01, 1] }, promised)?.speedup ?? 1);
  expect(found.speedup).toBeGreaterThan(Math.max(...alone));
});

const all = { from: 0, to: 20_000 };

test('a candidate loses what is expected and takes the time that decoding with it has; if more is allowed, less', () => {
  const exits = honest(20_000);
  const promise = agreement(0.95);
  const candidates = pricedCandidates(exits, costs, promise);
  const times = [0.005, 0.02, 0.1].map((allowed) => {
    const { thresholds, milliseconds, loss } = fastestLosing(allowed, candidates)!;
    expect(loss).toBeLessThanOrEqual(allowed);
    const outcome = outcomeOf(exits, costs, promise, thresholds, all);
    expect(Math.abs(outcome.loss - loss)).toBeLessThan(0.1 * loss + 0.001);
    expect(milliseconds).toBeCloseTo(fullPass(costs) / outcome.speedup, 9);
    return milliseconds;
  });
  expect(times).toEqual(times.toSorted((a, b) => b - a));
  expect(times[2]).toBeLessThan(0.9 * times[0]!);
  expect(fastestLosing(0, candidates)).toBeNull();
});

test('no thresholds of a coarse grid are faster without losing more', () => {
  const exits = honest(20_000);
  const promise = agreement(0.95);
  const { thresholds } = fastestLosing(0.02, pricedCandidates(exits, costs, promise))!;
  const ours = outcomeOf(exits, costs, promise, thresholds, all);
  const grid = Array.from({ length: 25 }, (_, i) => 1 - 0.6 * 0.8 ** i);
  const others = grid.flatMap((first) =>
    grid.map((second) => outcomeOf(exits, costs, promise, { '1:norm': first, '2:norm': second }, all)),
  );
  const best = Math.max(...others.filter((one) => one.loss <= ours.loss).map((one) => one.speedup));
  expect(ours.speedup).toBeGreaterThan(0.995 * best);
});

test('what filled entries cost later tokens counts', () => {
  const exits = honest(5000);
  const promise: Promised = { measure: 'regret', limit: 0.02 };
  const filled: Costs = { ...costs, fills: [0.1, 0.1] };
  const damaging: Costs = { ...filled, damages: [0.2, 0] };
  const allowed = 0.1;
  const [plain, aware] = [filled, damaging].map((on) => fastestLosing(allowed, pricedCandidates(exits, on, promise))!);
  // Of the shallow exit less is left at, and less is gained for the same loss.
  expect(aware!.thresholds['1:norm'] ?? 1).toBeGreaterThan(plain!.thresholds['1:norm']!);
  expect(aware!.milliseconds).toBeGreaterThan(plain!.milliseconds);
  const { loss } = outcomeOf(exits, filled, promise, aware!.thresholds, { from: 0, to: 5000 });
  const left = mean(Array.from(exits[0]!.confidence, (sure) => Number(sure >= (aware!.thresholds['1:norm'] ?? 1))));
  expect(Math.abs(aware!.loss - (loss + (0.2 / 5) * left))).toBeLessThan(0.1 * aware!.loss + 0.001);
  // Where nothing is filled nothing is lost by it.
  expect(pricedCandidates(exits, { ...costs, damages: [0, 0] }, promise)).toEqual(
    pricedCandidates(exits, costs, promise),
  );
});

test('the luckiest thresholds are not taken: text that chose nothing loses hardly more', () => {
  const promise = agreement(0.95);
  const ratios = Array.from({ length: 20 }, () => {
    const found = fastestLosing(0.005, pricedCandidates(honest(500), costs, promise));
    const { thresholds = {}, loss = 0 } = found ?? {};
    return [outcomeOf(honest(20_000), costs, promise, thresholds, all).loss, loss] as const;
  });
  const [lost, expected] = [mean(ratios.map(([l]) => l)), mean(ratios.map(([, e]) => e))];
  expect(expected).toBeGreaterThan(0.002);
  expect(lost).toBeLessThan(1.5 * expected);
});
