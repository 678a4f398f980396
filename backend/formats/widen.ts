/** Blocks as wider blocks of the same numbers, bit for bit: for processors that multiply faster with those. */
import { blockInfo } from './dequantise.ts';
import { freshMemory, type Allocate } from '../system/files.ts';
import type { TensorType } from './tensor-source.ts';

/** The type of the wider blocks; null if there is none. */
export const widerBlocks = (type: TensorType): 'Q8_0' | null => (type === 'Q5_0' ? 'Q8_0' : null);

/** The upper nibbles of a pair of bytes, by the fifth bits of its two numbers: a number without the bit is 16 less, in two's complement. */
const upperNibbles = Uint16Array.of(0xf0f0, 0xf000, 0x00f0, 0);

/**
 * Blocks of Q5_0 as those of Q8_0. Both are a scale in 16 bits and 32 numbers from −16 to 15: one has four bits of each in a
 * nibble and the fifth apart, the other a byte for each. Goes by pairs of bytes; there are hundreds of millions.
 */
export function widen(bytes: Uint8Array, allocate: Allocate = freshMemory): Uint8Array {
  const [narrow, wide] = [blockInfo('Q5_0').bytes / 2, blockInfo('Q8_0').bytes / 2];
  const source = pairsOf(bytes);
  const blocks = source.length / narrow;
  const result = allocate(blocks * wide * 2);
  const wider = new Uint16Array(result.buffer, result.byteOffset, blocks * wide);
  for (let block = 0, from = 0, to = 0; block < blocks; block++, from += narrow, to += wide) {
    wider[to] = source[from]!;
    let low = source[from + 1]!;
    let high = source[from + 2]!;
    for (let j = 0; j < 8; j++, low >>= 2, high >>= 2) {
      const q = source[from + 3 + j]!;
      wider[to + 1 + j] = (q & 0x0f0f) | upperNibbles[low & 3]!;
      wider[to + 9 + j] = ((q >> 4) & 0x0f0f) | upperNibbles[high & 3]!;
    }
  }
  return result;
}

const pairsOf = (bytes: Uint8Array): Uint16Array => {
  const even = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  return new Uint16Array(even.buffer, even.byteOffset, even.length / 2);
};
