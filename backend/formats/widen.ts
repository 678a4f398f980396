/** Blocks as wider blocks of the same numbers, bit for bit: for processors that multiply faster with those. */
import { blockInfo } from './dequantise.ts';
import { wordAt } from './halves.ts';
import type { TensorType } from './tensor-source.ts';

/** The type of the wider blocks; null where there is none. */
export const widerBlocks = (type: TensorType): 'Q8_0' | null => (type === 'Q5_0' ? 'Q8_0' : null);

/**
 * Blocks of Q5_0 as those of Q8_0. Both are a scale in 16 bits and 32 numbers from −16 to 15: one has four bits of each in a
 * nibble and the fifth apart, the other a byte for each.
 */
export function widen(bytes: Uint8Array): Uint8Array {
  const [narrow, wide] = [blockInfo('Q5_0').bytes, blockInfo('Q8_0').bytes];
  const wider = new Uint8Array((bytes.length / narrow) * wide);
  for (let from = 0, to = 0; from < bytes.length; from += narrow, to += wide) {
    wider[to] = bytes[from]!;
    wider[to + 1] = bytes[from + 1]!;
    const high = wordAt(bytes, from + 2);
    for (let j = 0; j < 16; j++) {
      const q = bytes[from + 6 + j]!;
      wider[to + 2 + j] = ((q & 15) | (((high >>> j) & 1) << 4)) - 16;
      wider[to + 18 + j] = ((q >> 4) | (((high >>> (j + 16)) & 1) << 4)) - 16;
    }
  }
  return wider;
}
