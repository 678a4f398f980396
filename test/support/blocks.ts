/** Blocks of GGML's types, made up. */
import { blockInfo } from '../../backend/formats/dequantise.ts';
import type { TypeName } from '../../backend/ggml/library.ts';
import { random } from './random.ts';

/** A type of ggml that is not plain. */
export type BlockType = Exclude<TypeName, 'F32' | 'F16' | 'BF16' | 'I32' | 'I64'>;

/** Random blocks whose scales, in 16 bits, are neither infinite nor no number. */
export function randomBlocks(type: BlockType, count: number): Uint8Array {
  const { elements, bytes } = blockInfo(type);
  const next = random(3);
  const all = Uint8Array.from({ length: (count / elements) * bytes }, () => Math.trunc(next() * 256));
  // Highest bytes of scales; those of other types are the first two bytes.
  const places: Partial<Record<BlockType, number[]>> = {
    Q4_1: [1, 3],
    Q5_1: [1, 3],
    Q2_K: [81, 83],
    Q3_K: [109],
    Q4_K: [1, 3],
    Q5_K: [1, 3],
    Q6_K: [209],
    IQ1_M: [55],
    TQ1_0: [53],
    TQ2_0: [65],
  };
  for (let p = 0; p < all.length; p += bytes) {
    if (type === 'MXFP4') all[p] = 110 + (all[p]! & 15);
    else for (const place of places[type] ?? [1]) all[p + place] = 0x20 | (all[p + place]! & 0x8f);
  }
  return all;
}
