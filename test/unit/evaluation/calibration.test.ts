/** Calibration on made-up exits whose truth is known. */
import { expect, test } from 'vitest';
import { seededRandom } from '../../../backend/decoding/random.ts';
import {
  calibrate,
  fullPass,
  likely,
  outcomeOf,
  type Costs,
  type ExitView,
} from '../../../backend/evaluation/calibration.ts';
import type { Promised } from '../../../protocol/options-promise.ts';

const costs: Costs = { stages: [4, 4, 4], deferred: [0.5, 0.5, 0.5], readings: [0.3, 0.3, 1] };
const random = seededRandom(6);

/** Exits that are right as often as they are sure, times `honesty`. */
function madeUp(tokens: number, honesty: number): ExitView[] {
  return [1, 2].map((stages): ExitView => {
    const confidence = Array.from({ length: tokens }, () => random() ** (1 / stages));
    const regret = confidence.map((sure) => (random() < sure ** 0.1 * honesty ? 0 : 2 * random()));
    return { exit: `${stages}:norm`, stages, regret, confidence, deferred: confidence.map(() => 0) };
  });
}

/** Regrets of decoding with these thresholds. */
const regretsOf = (exits: readonly ExitView[], thresholds: Readonly<Record<string, number>>): number[] =>
  Array.from(exits[0]!.confidence, (_, i) => {
    const left = exits.find((e) => e.exit in thresholds && e.confidence[i]! >= thresholds[e.exit]!);
    return left ? left.regret[i]! : 0;
  });

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
const agreementOf = (exits: readonly ExitView[], thresholds: Readonly<Record<string, number>>): number =>
  mean(regretsOf(exits, thresholds).map((regret) => Number(regret === 0)));

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
    const isBroken = found.some(({ thresholds }) => {
      const fresh = madeUp(10_000, 1);
      return measure === 'agreement'
        ? agreementOf(fresh, thresholds) < promise.limit
        : mean(regretsOf(fresh, thresholds)) > promise.limit;
    });
    if (isBroken) broken++;
    speedup += Math.max(1, ...found.map((one) => one.speedup)) / trials;
  }
  expect(broken / trials).toBeLessThanOrEqual(0.1);
  expect(speedup).toBeGreaterThan(1.2);
});

test('an exit that is often wrong is not left at', () => {
  const exits = madeUp(3000, 0.5);
  expect(calibrate(exits, costs, { promise: agreement(0.99), certainty: 0.95 })).toEqual([]);
});

test('an exit that costs more than it saves is not asked', () => {
  const exits = madeUp(3000, 1);
  const dear = { ...costs, readings: [20, 0.3, 1] };
  const found = calibrate(exits, dear, { promise: agreement(0.9), certainty: 0.95 });
  expect(found.map(({ thresholds }) => Object.keys(thresholds))).toEqual([['2:norm']]);
});

test('a token outside the shortlist never counts as having left', () => {
  const exits = madeUp(3000, 1);
  const deferring = exits.map((exit) => ({ ...exit, deferred: Array.from(exit.confidence, () => 1) }));
  expect(calibrate(deferring, costs, { promise: agreement(0.5), certainty: 0.9 })).toEqual([]);
});

test('where several exits together seem faster, the fastest single one is a candidate, too', () => {
  const exits = madeUp(4000, 1);
  const cheap = { ...costs, readings: [0.01, 0.01, 1] };
  const found = calibrate(exits, cheap, { promise: agreement(0.96), certainty: 0.9 });
  expect(found.map(({ thresholds }) => Object.keys(thresholds).length)).toEqual([1, 2]);
  expect(found[1]!.speedup).toBeGreaterThan(found[0]!.speedup);
});

test('an untested candidate loses what is allowed at most and takes the time that decoding with it has; if more is allowed, less', () => {
  const exits = madeUp(4000, 1);
  const promise = agreement(0.95);
  const all = { from: 0, to: 4000 };
  const losing = likely(exits, costs, promise, 0.001, 0.1);
  const times = [0.001, 0.01, 0.1].map((allowed) => {
    const { thresholds, milliseconds } = losing(allowed)!;
    const { loss, speedup } = outcomeOf(exits, costs, promise, thresholds, all);
    expect(loss).toBeLessThanOrEqual(allowed);
    expect(milliseconds).toBeCloseTo(fullPass(costs) / speedup, 9);
    return milliseconds;
  });
  expect(times).toEqual(times.toSorted((a, b) => b - a));
  expect(times[2]).toBeLessThan(0.9 * times[0]!);
});
