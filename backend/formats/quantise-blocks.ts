/** Numbers → GGML blocks of 32 along rows: `Q8_0` and `Q4_0`, as ggml's reference rounds them (ggml-quants.c, quantize_row_*_ref). */
import { toHalf } from './halves.ts';

export type QuantisedType = 'Q8_0' | 'Q4_0';

const blockSize = 32;

/** @param values rows of a multiple of 32 numbers, one after the other. */
export function quantiseBlocks(type: QuantisedType, values: Float32Array): Uint8Array {
  const blocks = values.length / blockSize;
  const bytes = type === 'Q8_0' ? 34 : 18;
  const out = new Uint8Array(blocks * bytes);
  const view = new DataView(out.buffer);
  for (let b = 0; b < blocks; b++) {
    const block = values.subarray(b * blockSize, (b + 1) * blockSize);
    if (type === 'Q8_0') writeQ8(view, b * bytes, block);
    else writeQ4(view, b * bytes, block);
  }
  return out;
}

function writeQ8(view: DataView, at: number, block: Float32Array): void {
  let largest = 0;
  for (const value of block) largest = Math.max(largest, Math.abs(value));
  const scale = Math.fround(largest / 127);
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  view.setUint16(at, toHalf(scale), true);
  for (let i = 0; i < blockSize; i++) view.setInt8(at + 2 + i, roundAway(Math.fround(block[i]! * inverse)));
}

function writeQ4(view: DataView, at: number, block: Float32Array): void {
  let [largest, extreme] = [0, 0];
  for (const value of block) if (Math.abs(value) > largest) [largest, extreme] = [Math.abs(value), value];
  const scale = Math.fround(extreme / -8);
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  view.setUint16(at, toHalf(scale), true);
  const nibble = (value: number): number => Math.min(15, Math.trunc(Math.fround(Math.fround(value * inverse) + 8.5)));
  for (let i = 0; i < blockSize / 2; i++)
    view.setUint8(at + 2 + i, nibble(block[i]!) | (nibble(block[i + blockSize / 2]!) << 4));
}

/** As C's roundf: halves away from zero. */
const roundAway = (value: number): number => Math.sign(value) * Math.floor(Math.abs(value) + 0.5);
