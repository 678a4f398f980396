/** Rounding a weight to blocks of 8 bits. */
import { expect, test } from 'vitest';
import {
  coarsen,
  dequantise,
  expandBlocks,
  largestRounded,
  quantise,
  roundRows,
  roundStacked,
  toBlocks,
  typeBytes,
} from '../../../backend/formats/quantisation.ts';
import { widen, widerBlocks } from '../../../backend/formats/widen.ts';

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

test.each(['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K'] as const)(
  'blocks of %s expand to the bits that dequantising gives, from any block on',
  (type) => {
    const [rows, columns] = [3, 512];
    // No byte of a scale makes it infinite.
    const bytes = Uint8Array.from({ length: typeBytes(type, rows * columns) }, (_, i) => (i * 7919) % 113);
    const wanted = dequantise(type, bytes, rows * columns);
    const blocks = toBlocks(type, bytes, rows, columns)!;
    const last = new Float32Array(columns);
    expandBlocks(blocks, (2 * columns) / blocks.blockSize, last);
    expect(last).toEqual(wanted.subarray(2 * columns));
  },
);

test('blocks are rounded as the values that they stand for, and weights that stand together as one', () => {
  const [rows, columns] = [70, 64];
  const weight = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * i) * (1 + (i % 64)));
  const blocks = quantise(weight);
  const values = new Float32Array(weight.length);
  expandBlocks(blocks, 0, values);
  expect(roundRows(blocks, rows, columns)).toEqual(roundRows(values, rows, columns));
  const parts = [values.subarray(0, 3 * columns), values.subarray(3 * columns)];
  expect(roundStacked(parts, rows, columns)).toEqual(roundRows(values, rows, columns));
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

test('blocks that are widened hold the same numbers, bit for bit', () => {
  const blocks = 9;
  const narrow = Uint8Array.from({ length: typeBytes('Q5_0', 32 * blocks) }, (_, i) => (i % 22 === 1 ? 0x2c : i * 89));
  expect(widerBlocks('Q5_0')).toBe('Q8_0');
  const wider = widen(narrow);
  expect(wider.length).toBe(typeBytes('Q8_0', 32 * blocks));
  expect(dequantise('Q8_0', wider, 32 * blocks)).toEqual(dequantise('Q5_0', narrow, 32 * blocks));
});
