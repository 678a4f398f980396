/** Calibration on made-up exits whose truth is known. */
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../backend/decoding/random.ts';
import { binomialTail, calibrate, type Costs, type ExitView } from '../../../backend/evaluation/calibration.ts';

const costs: Costs = { stages: [4, 4, 4], deferred: [0.5, 0.5, 0.5], readings: [0.3, 0.3, 1] };
const random = seededRandom(6);

/** Exits that are right as often as they are sure, times `honesty`. */
function madeUp(tokens: number, honesty: number): { exits: ExitView[]; final: number[] } {
  const final = Array.from({ length: tokens }, () => Math.floor(random() * 100));
  const exits = [1, 2].map((stages): ExitView => {
    const confidence = final.map(() => random() ** (1 / stages));
    const token = final.map((id, i) => (random() < confidence[i]! ** 0.1 * honesty ? id : 100));
    return { exit: `${stages}:norm`, stages, token, confidence, deferred: final.map(() => 0) };
  });
  return { exits, final };
}

/** Agreement of decoding with these thresholds. */
function agreementOf(
  { exits, final }: ReturnType<typeof madeUp>,
  thresholds: Readonly<Record<string, number>>,
): number {
  const right = final.filter((id, i) => {
    const left = exits.find((e) => e.exit in thresholds && e.confidence[i]! >= thresholds[e.exit]!);
    return !left || left.token[i] === id;
  });
  return right.length / final.length;
}

describe('binomial tail', () => {
  test.each([
    [10, 0, 0.5, 0.5 ** 10],
    [10, 5, 0.5, 0.623046875],
    [1000, 3, 0.01, 0.010073],
    [5, 5, 0.3, 1],
  ])('P(B(%i) ≤ %i) at p = %f', (n, x, p, expected) => expect(binomialTail(n, x, p)).toBeCloseTo(expected, 5));
});

test('the promise is kept on new tokens, nearly always', () => {
  let broken = 0;
  let speedup = 0;
  const trials = 40;
  for (let trial = 0; trial < trials; trial++) {
    const { exits, final } = madeUp(2000, 1);
    const found = calibrate(exits, final, costs, { agreement: 0.95, confidence: 0.9 });
    if (found.some(({ thresholds }) => agreementOf(madeUp(20_000, 1), thresholds) < 0.95)) broken++;
    speedup += Math.max(1, ...found.map((one) => one.speedup)) / trials;
  }
  expect(broken / trials).toBeLessThanOrEqual(0.1);
  expect(speedup).toBeGreaterThan(1.2);
});

test('an exit that is often wrong is not left at', () => {
  const { exits, final } = madeUp(3000, 0.5);
  expect(calibrate(exits, final, costs, { agreement: 0.99, confidence: 0.95 })).toEqual([]);
});

test('an exit that costs more than it saves is not asked', () => {
  const { exits, final } = madeUp(3000, 1);
  const dear = { ...costs, readings: [20, 0.3, 1] };
  const found = calibrate(exits, final, dear, { agreement: 0.9, confidence: 0.95 });
  expect(found.map(({ thresholds }) => Object.keys(thresholds))).toEqual([['2:norm']]);
});

test('a token outside the shortlist never counts as having left', () => {
  const { exits, final } = madeUp(3000, 1);
  const deferring = exits.map((exit) => ({ ...exit, deferred: final.map(() => 1) }));
  expect(calibrate(deferring, final, costs, { agreement: 0.5, confidence: 0.9 })).toEqual([]);
});

test('where several exits together seem faster, the fastest single one is a candidate, too', () => {
  const { exits, final } = madeUp(4000, 1);
  const cheap = { ...costs, readings: [0.01, 0.01, 1] };
  const found = calibrate(exits, final, cheap, { agreement: 0.96, confidence: 0.9 });
  expect(found.map(({ thresholds }) => Object.keys(thresholds).length)).toEqual([1, 2]);
  expect(found[1]!.speedup).toBeGreaterThan(found[0]!.speedup);
});
