/** The weights that blocks stand for, element by element and rounded to 32 bits once: what MatMulNBits multiplies with. */
import type { WeightBlocks } from '../../../backend/formats/quantisation.ts';

export function weightsOf({ bits, blockSize, zeroPoint, quants, scales, minima }: WeightBlocks): Float32Array {
  const out = new Float32Array((quants.length * 8) / bits);
  for (let i = 0; i < out.length; i++) {
    const quant = bits === 8 ? quants[i]! : (quants[i >> 1]! >> (4 * (i & 1))) & 15;
    const block = Math.floor(i / blockSize);
    out[i] = scales[block]! * (quant - zeroPoint) + (minima?.[block] ?? 0);
  }
  return out;
}
