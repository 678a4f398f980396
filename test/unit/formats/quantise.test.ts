/** Rounding a weight to blocks of 8 bits. */
import { expect, test } from 'vitest';
import { coarsen, largestRounded, quantise, roundRows } from '../../../backend/formats/quantisation.ts';

test('each weight is at most half a step off, and zeros stay zeros', () => {
  const weight = Float32Array.from({ length: 4 * 64 }, (_, i) => (i < 32 ? 0 : Math.sin(i) * (1 + (i % 64))));
  const { quants, scales, zeroPoint } = quantise(weight);
  for (const [i, w] of weight.entries()) {
    const scale = scales[Math.trunc(i / 32)]!;
    expect(Math.abs(scale * (quants[i]! - zeroPoint) - w)).toBeLessThanOrEqual(scale * 0.5001);
  }
  expect([...scales].slice(1).every((s) => s > 0)).toBe(true);
  expect([...quants.subarray(0, 32)].every((q) => q === 128)).toBe(true);
});

test('rows are rounded to seven bits and a sign, transposed, each at most half a step off', () => {
  const [rows, columns] = [70, 33];
  const weight = Float32Array.from({ length: rows * columns }, (_, i) => (i < columns ? 0 : Math.sin(i * i) * (1 + i)));
  const { quants, scales } = roundRows(weight, rows, columns);
  for (const [i, w] of weight.entries()) {
    const [row, column] = [Math.trunc(i / columns), i % columns];
    const quant = quants[column * rows + row]!;
    expect(Math.abs(quant)).toBeLessThanOrEqual(largestRounded);
    expect(Math.abs(scales[row]! * quant - w)).toBeLessThanOrEqual(scales[row]! * 0.5001);
  }
  expect(scales[0]).toBe(0);
});

test('a weight that is not a number is not hidden by rounding', () => {
  expect(roundRows(Float32Array.of(1, NaN, 2, 3), 2, 2).scales[0]).toBeNaN();
});

test.each([
  [256, 128],
  [192, 64],
  [96, 32],
])(
  'a coarse weight of %d columns has blocks of %d and is at most half a step off, but for cut peaks',
  (columns, size) => {
    const weight = Float32Array.from({ length: 3 * columns }, (_, i) =>
      i < columns ? 0 : Math.sin(i * i) * (1 + (i % 7)),
    );
    const { bits, blockSize, zeroPoint, quants, scales } = coarsen(quantise(weight), columns);
    expect([bits, blockSize, zeroPoint]).toEqual([4, size, 8]);
    expect(scales.length).toBe(weight.length / size);
    for (const [i, w] of weight.entries()) {
      const step = scales[Math.trunc(i / size)]!;
      const rough = step * (((quants[i >> 1]! >> (4 * (i & 1))) & 15) - zeroPoint);
      // Values beyond 7 steps are cut; the largest is 7.5 steps.
      expect(Math.abs(rough - w)).toBeLessThanOrEqual(step * 0.54);
      if (i < columns) expect(rough).toBe(0);
    }
  },
);
