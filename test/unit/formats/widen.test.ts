/** Blocks of five bits as blocks of eight. */
import { expect, test } from 'vitest';
import { dequantise, typeBytes } from '../../../backend/formats/dequantise.ts';
import { widen, widerBlocks } from '../../../backend/formats/widen.ts';

test('blocks that are widened hold the same numbers, bit for bit', () => {
  const blocks = 9;
  const narrow = Uint8Array.from({ length: typeBytes('Q5_0', 32 * blocks) }, (_, i) => (i % 22 === 1 ? 0x2c : i * 89));
  expect(widerBlocks('Q5_0')).toBe('Q8_0');
  const wider = widen(narrow);
  expect(wider.length).toBe(typeBytes('Q8_0', 32 * blocks));
  expect(dequantise('Q8_0', wider, 32 * blocks)).toEqual(dequantise('Q5_0', narrow, 32 * blocks));
});
