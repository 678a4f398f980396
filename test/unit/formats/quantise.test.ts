/** Rounding a weight to blocks of 8 bits. */
import { expect, test } from 'vitest';
import { quantise } from '../../../backend/formats/quantisation.ts';

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
