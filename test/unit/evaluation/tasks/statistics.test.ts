import { describe, expect, it } from 'vitest';
import {
  bootstrap,
  mean,
  pairedDifference,
  timesAsFast,
  verdictOf,
} from '../../../../backend/evaluation/tasks/statistics.ts';

/** `right` of `count` are 1. */
const scores = (count: number, right: number): number[] => Array.from({ length: count }, (_, i) => (i < right ? 1 : 0));

describe('bootstrap', () => {
  it('gives the interval of a mean, as the normal distribution has it', () => {
    const { low, high } = bootstrap(scores(400, 100), mean);
    // 0.25 ± 1.96 · √(0.25 · 0.75 ÷ 400)
    expect(low).toBeCloseTo(0.25 - 0.0424, 1.8);
    expect(high).toBeCloseTo(0.25 + 0.0424, 1.8);
  });
  it('gives the same bits for the same items', () => {
    expect(bootstrap(scores(50, 20), mean)).toEqual(bootstrap(scores(50, 20), mean));
  });
});

describe('a paired difference', () => {
  it('counts what was lost and won, with the exact test of McNemar', () => {
    const full = [1, 1, 1, 1, 1, 1, 0, 0, 1, 1];
    const fast = [0, 0, 0, 0, 0, 0, 1, 0, 1, 1];
    const difference = pairedDifference(fast, full);
    expect(difference).toMatchObject({ lost: 6, won: 1, mean: -0.5 });
    // 2 · (C(7,0) + C(7,1)) ÷ 2⁷
    expect(difference.p).toBeCloseTo((2 * 8) / 128);
  });
  it('is nothing of equal scores, but of few tasks never certain', () => {
    const few = pairedDifference(scores(10, 5), scores(10, 5));
    expect(few).toMatchObject({ mean: 0, lost: 0, won: 0, p: 1 });
    expect(verdictOf(few, 0.02)).toBe('unclear');
    const many = pairedDifference(scores(1000, 500), scores(1000, 500));
    expect(verdictOf(many, 0.02)).toBe('not-worse');
    // About the rule of three: 3 ÷ n.
    expect(many.low).toBeGreaterThan(-0.0045);
    expect(many.low).toBeLessThan(-0.0015);
  });
  it('does not depend on the order of the tasks', () => {
    const [full, fast] = [scores(20, 13), scores(20, 9)];
    const order = full.map((_, i) => (7 * i + 3) % 20);
    const shuffled = [fast, full].map((each) => order.map((i) => each[i]!)) as [number[], number[]];
    expect(pairedDifference(...shuffled)).toEqual(pairedDifference(fast, full));
    // Sums of these depend on the order in their last bits.
    const shares = [0.1, 0.7, 0.2, 0.3, 0.6];
    const none = shares.map(() => 0);
    expect(pairedDifference(shares.toReversed(), none)).toEqual(pairedDifference(shares, none));
  });
  it('is worse where all of the interval is', () => {
    const { low, high } = pairedDifference(scores(500, 250), scores(500, 350));
    expect(verdictOf({ low, high }, 0.02)).toBe('worse');
    expect(verdictOf({ low: -0.03, high: 0.01 }, 0.02)).toBe('unclear');
  });
});

it('a speed is the ratio of totals a token', () => {
  const pair = (own: number, other: number) => ({
    own: { seconds: own, tokens: 10 },
    other: { seconds: other, tokens: 20 },
  });
  const { value, low, high } = timesAsFast([pair(1, 4), pair(2, 4), pair(1, 4)]);
  // 4 s for 30 tokens beside 12 s for 60.
  expect(value).toBeCloseTo(12 / 60 / (4 / 30));
  expect(low).toBeLessThanOrEqual(value);
  expect(high).toBeGreaterThanOrEqual(value);
});
