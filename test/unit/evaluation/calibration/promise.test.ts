/** Tests of promises against what is known: exact tails, and texts that keep or break a promise by chance alone. */
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../../backend/decoding/sampling/random.ts';
import {
  binomialTail,
  chanceOf,
  fewestJudged,
  fewestTested,
  judgedBy,
  verdictOf,
  type Guarantee,
} from '../../../../backend/evaluation/calibration/promise.ts';
import { parsePromise, type Promised } from '../../../../protocol/options/promise.ts';

describe('binomial tail', () => {
  test.each([
    [10, 0, 0.5, 0.5 ** 10],
    [10, 5, 0.5, 0.623046875],
    [1000, 3, 0.01, 0.010073],
    [5, 5, 0.3, 1],
  ])('P(B(%i) ≤ %i) at p = %f', (n, x, p, expected) => expect(binomialTail(n, x, p)).toBeCloseTo(expected, 5));
});

const regret: Promised = { measure: 'regret', limit: 0.05 };
const random = seededRandom(11);

/** Losses of which a tenth is not 0: spread around this mean, or all of them as large as can be. */
const drawn = (n: number, mean: number, isRough: boolean): number[] =>
  Array.from({ length: n }, () => {
    if (isRough) return random() < mean ? 1 : 0;
    return random() < 0.1 ? 20 * mean * random() : 0;
  });

describe('a promised regret', () => {
  test.each([true, false])(
    'that is just broken passes no more often than it may; losses all or nothing: %s',
    (isRough) => {
      const chance = 0.1;
      const trials = 4000;
      let passed = 0;
      for (let trial = 0; trial < trials; trial++)
        if (chanceOf(regret, drawn(1000, regret.limit / 5, isRough)) <= chance) passed++;
      expect(passed / trials).toBeLessThanOrEqual(chance);
    },
  );

  test('that is kept by a wide margin passes', () => {
    for (let trial = 0; trial < 20; trial++)
      expect(chanceOf(regret, drawn(2000, regret.limit / 20, false))).toBeLessThan(0.01);
  });

  test('is ruled out by no fewer tokens than it takes', () => {
    for (const chance of [0.05, 0.001]) {
      const fewest = fewestTested(regret, chance);
      const lossless = (n: number): number[] => Array.from({ length: n }, () => 0);
      expect(chanceOf(regret, lossless(fewest))).toBeLessThanOrEqual(chance);
      expect(chanceOf(regret, lossless(fewest - 1))).toBeGreaterThan(chance);
    }
  });

  test('that is strict beyond any text takes no longer to count', () => {
    for (const limit of [1e-6, 1e-12, 1e-300])
      expect(fewestTested({ measure: 'regret', limit }, 0.05)).toBeGreaterThan(1 / limit);
  });
});

describe('ways of writing, the most cautious first, until one breaks the promise', () => {
  /** Regrets with about this mean: a few tokens are very improbable, and some are near ties. */
  const regrets = (mean: number): number[] =>
    Array.from({ length: 64 }, () => {
      const draw = random();
      if (draw < mean / 10) return 5;
      return draw < 0.1 ? 10 * mean * random() : 0;
    });
  /** Of this number of tokens that are not the full model's own. */
  const others = (share: number): number[] => Array.from({ length: 64 }, () => Number(random() < share));

  const boldestKept = (
    guarantee: Guarantee,
    ways: readonly number[],
    text: (way: number) => number[],
  ): number | null => {
    const most = 5 * fewestJudged(guarantee);
    let best: number | null = null;
    for (const way of ways) {
      const written: number[] = [];
      let verdict: ReturnType<typeof verdictOf> = null;
      while (verdict === null && written.length < most) {
        written.push(...text(way));
        verdict = verdictOf(guarantee, written, most);
      }
      if (verdict !== 'kept') break;
      best = way;
    }
    return best;
  };

  test.each([
    ['regret', 0.05, 0.05, regrets],
    ['agreement', 0.9, 0.1, others],
  ] as const)('a promised %s of %f holds in 19 of 20 calibrations at least', (measure, limit, allowed, text) => {
    const guarantee: Guarantee = { promise: { measure, limit }, certainty: 0.95 };
    const ways = [0.1, 0.4, 0.9, 1.04, 1.2, 1.5].map((share) => share * allowed);
    const chosen = Array.from({ length: 100 }, () => boldestKept(guarantee, ways, text) ?? 0);
    const share = (least: number): number => chosen.filter((way) => way >= least).length / chosen.length;
    expect(share(1.01 * allowed)).toBeLessThanOrEqual(0.05);
    // The cautious way passes nearly always, a bolder one often.
    expect(share(ways[0]!)).toBeGreaterThan(0.9);
    expect(share(ways[1]!)).toBeGreaterThan(0.5);
  });
});

test('a place that goes wrong early does not break a promise that the rest keeps, but losses like these up to the end do', () => {
  const guarantee: Guarantee = { promise: { measure: 'regret', limit: 0.02 }, certainty: 0.95 };
  const most = 5 * fewestJudged(guarantee);
  const zeros = (tokens: number): number[] => Array.from({ length: tokens }, () => 0);
  const early = [5, 5, 5, 5, ...zeros(1000)];
  expect(verdictOf(guarantee, early, most)).toBeNull();
  expect(verdictOf(guarantee, [...early, ...zeros(most - early.length)], most)).toBe('kept');
  const half = Array.from({ length: Math.ceil(most / 2) }, (_, i) => Number(i % 50 === 0));
  expect(verdictOf(guarantee, half.slice(0, most / 4), most)).toBeNull();
  expect(verdictOf(guarantee, half, most)).toBe('broken');
});

test('what a text says of its way: share of own choices, nats, and their standard errors', () => {
  const { agreement, regret: nats } = judgedBy([0, 0, 1, 3]);
  expect(agreement).toEqual({ value: 0.5, error: expect.closeTo(Math.sqrt(1 / 12), 6) as number });
  expect(nats).toEqual({ value: 1, error: expect.closeTo(Math.sqrt(6 / 12), 6) as number });
});

test.each([
  ['agreement=0.99', { measure: 'agreement', limit: 0.99 }],
  ['regret=0.01', { measure: 'regret', limit: 0.01 }],
  [' Regret = .5 ', { measure: 'regret', limit: 0.5 }],
  ['regret=1e-2', { measure: 'regret', limit: 0.01 }],
  ['agreement=1', { measure: 'agreement', limit: 1 }],
  ['agreement=99', null],
  ['agreement=0', null],
  ['regret=-1', null],
  ['regret=2', null],
  ['regret', null],
  ['0.99', null],
])('--promise %s', (text, read) => expect(parsePromise(text)).toEqual(read));
