/** When a race may end: ratios of paired times with their errors. */
import { expect, test } from 'vitest';
import { seededRandom } from '../../../../backend/decoding/sampling/random.ts';
import { isClear, ratioOf, steadyTexts } from '../../../../backend/evaluation/calibration/race.ts';

test('a ratio is that of the totals; texts that differ in length add no error to it', () => {
  expect(ratioOf([20, 40, 60], [10, 20, 30])).toEqual({ value: 2, error: 0 });
  expect(ratioOf([5], [10])).toEqual({ value: 0.5, error: Infinity });
  expect(ratioOf([], [])).toEqual({ value: 1, error: Infinity });
  // By hand: value 1.5, residuals 1 and −1, mean 10, n (n − 1) = 2.
  expect(ratioOf([16, 14], [10, 10])).toEqual({ value: 1.5, error: Math.sqrt(2 / 2) / 10 });
});

test('the error says how far a ratio of few texts is from that of many', () => {
  const random = seededRandom(3);
  const noisy = (mean: number): number => mean * (0.8 + 0.4 * random());
  let outside = 0;
  for (let trial = 0; trial < 500; trial++) {
    const faster = Array.from({ length: 8 }, () => noisy(10));
    const slower = faster.map(() => noisy(13));
    const { value, error } = ratioOf(slower, faster);
    if (Math.abs(value - 1.3) > 2 * error) outside++;
  }
  expect(outside / 500).toBeGreaterThan(0.02);
  expect(outside / 500).toBeLessThan(0.15);
});

test('is clear on one side of a boundary only beyond three errors', () => {
  expect(isClear({ value: 1.2, error: 0.05 }, 1.02)).toBe(true);
  expect(isClear({ value: 0.9, error: 0.03 }, 1.02)).toBe(true);
  expect(isClear({ value: 1.1, error: 0.05 }, 1.02)).toBe(false);
  expect(isClear({ value: 3, error: Infinity }, 1.02)).toBe(false);
});

test('a text at which a way was stalled tells nothing of the others', () => {
  const [slow, fast] = [
    [10, 11, 10, 40, 10],
    [9, 30, 9, 9, 9, 9],
  ];
  expect(steadyTexts([slow, fast], slow)).toEqual([0, 2, 4]);
  // A text may end early.
  expect(steadyTexts([[10, 2, 10]], [10, 2, 10])).toEqual([0, 1, 2]);
  expect(steadyTexts([[], [3]], [])).toEqual([]);
  // A text that is too short has no time.
  expect(
    steadyTexts(
      [
        [10, Infinity, 10],
        [9, 9, 9],
      ],
      [10, Infinity, 10],
    ),
  ).toEqual([0, 2]);
  expect(steadyTexts([[Infinity, Infinity]], [Infinity, Infinity])).toEqual([]);
});

test('a text of which few drafts are right counts: it takes longer than others, but no longer than at full depth', () => {
  const [full, drafting] = [
    [10, 10, 10, 10, 10],
    [3, 3, 10, 3, 10],
  ];
  expect(steadyTexts([full, drafting], full)).toEqual([0, 1, 2, 3, 4]);
  // A way that is always slower than full depth is no stall.
  expect(steadyTexts([full, [20, 20, 50, 20, 20]], full)).toEqual([0, 1, 3, 4]);
});
