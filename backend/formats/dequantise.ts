/**
 * Element types to 32-bit floats. Block layouts and formulas are those of GGML (ggml-quants.c); each product below is exact
 * in 64 bits and rounded to 32 once, which gives the reference's bits. Knows no file.
 */
import { iqBlocks, iqDecoders } from './dequantise-iq.ts';
import { halfAt, halfValues, wordAt, type Decoder } from './halves.ts';
import type { TensorType } from './tensor-source.ts';

/** A block of a type: its number of elements and its size in bytes (1 element for plain types). */
export interface BlockInfo {
  readonly elements: number;
  readonly bytes: number;
}

export const blockInfo = (type: TensorType): BlockInfo => blocks[type];

/** Bytes of `elements` elements, whole blocks assumed. */
export const typeBytes = (type: TensorType, elements: number): number =>
  (elements / blocks[type].elements) * blocks[type].bytes;

/** The values of `count` elements stored in `bytes`. Throws if the two do not agree. */
export function dequantise(type: TensorType, bytes: Uint8Array, count: number): Float32Array {
  if (count % blocks[type].elements !== 0 || typeBytes(type, count) !== bytes.length)
    throw new RangeError(`${count} elements of ${type} do not take ${bytes.length} bytes`);
  const out = new Float32Array(count);
  decoders[type](bytes, out);
  return out;
}

const blocks: Readonly<Record<TensorType, BlockInfo>> = {
  F32: { elements: 1, bytes: 4 },
  F16: { elements: 1, bytes: 2 },
  BF16: { elements: 1, bytes: 2 },
  F64: { elements: 1, bytes: 8 },
  I8: { elements: 1, bytes: 1 },
  U8: { elements: 1, bytes: 1 },
  I16: { elements: 1, bytes: 2 },
  I32: { elements: 1, bytes: 4 },
  I64: { elements: 1, bytes: 8 },
  BOOL: { elements: 1, bytes: 1 },
  Q4_0: { elements: 32, bytes: 18 },
  Q4_1: { elements: 32, bytes: 20 },
  Q5_0: { elements: 32, bytes: 22 },
  Q5_1: { elements: 32, bytes: 24 },
  Q8_0: { elements: 32, bytes: 34 },
  Q2_K: { elements: 256, bytes: 84 },
  Q3_K: { elements: 256, bytes: 110 },
  Q4_K: { elements: 256, bytes: 144 },
  Q5_K: { elements: 256, bytes: 176 },
  Q6_K: { elements: 256, bytes: 210 },
  ...iqBlocks,
};

/** Decodes a type that has a typed array, which `view` makes of the bytes; they are copied first if they are not aligned. */
const plain =
  (view: (aligned: Uint8Array) => ArrayLike<number>): Decoder =>
  (bytes, out) => {
    out.set(view(bytes.byteOffset % 8 === 0 ? bytes : bytes.slice()));
  };

const decoders: Readonly<Record<TensorType, Decoder>> = {
  ...iqDecoders,
  F32: (bytes, out) => new Uint8Array(out.buffer).set(bytes),
  F16: (b, out) => {
    for (let i = 0; i < out.length; i++) out[i] = halfValues[b[2 * i]! | (b[2 * i + 1]! << 8)]!;
  },
  // A bfloat16 is the upper half of a 32-bit float.
  BF16: (b, out) => {
    const upper = new Uint8Array(out.buffer);
    for (let i = 0; i < out.length; i++) {
      upper[4 * i + 2] = b[2 * i]!;
      upper[4 * i + 3] = b[2 * i + 1]!;
    }
  },
  F64: plain((b) => new Float64Array(b.buffer, b.byteOffset, b.length / 8)),
  I8: plain((b) => new Int8Array(b.buffer, b.byteOffset, b.length)),
  U8: plain((b) => b),
  I16: plain((b) => new Int16Array(b.buffer, b.byteOffset, b.length / 2)),
  I32: plain((b) => new Int32Array(b.buffer, b.byteOffset, b.length / 4)),
  I64: (b, out) => {
    const view = new DataView(b.buffer, b.byteOffset, b.length);
    for (let i = 0; i < out.length; i++) out[i] = Number(view.getBigInt64(8 * i, true));
  },
  BOOL: (b, out) => {
    for (let i = 0; i < out.length; i++) out[i] = b[i] === 0 ? 0 : 1;
  },
  Q4_0: (b, out) => {
    for (let p = 0, y = 0; y < out.length; p += 18, y += 32) {
      const d = halfAt(b, p);
      for (let j = 0; j < 16; j++) {
        const q = b[p + 2 + j]!;
        out[y + j] = d * ((q & 15) - 8);
        out[y + j + 16] = d * ((q >> 4) - 8);
      }
    }
  },
  Q4_1: (b, out) => {
    for (let p = 0, y = 0; y < out.length; p += 20, y += 32) {
      const d = halfAt(b, p);
      const m = halfAt(b, p + 2);
      for (let j = 0; j < 16; j++) {
        const q = b[p + 4 + j]!;
        out[y + j] = d * (q & 15) + m;
        out[y + j + 16] = d * (q >> 4) + m;
      }
    }
  },
  Q5_0: (b, out) => {
    for (let p = 0, y = 0; y < out.length; p += 22, y += 32) {
      const d = halfAt(b, p);
      const high = wordAt(b, p + 2);
      for (let j = 0; j < 16; j++) {
        const q = b[p + 6 + j]!;
        out[y + j] = d * (((q & 15) | (((high >>> j) & 1) << 4)) - 16);
        out[y + j + 16] = d * (((q >> 4) | (((high >>> (j + 16)) & 1) << 4)) - 16);
      }
    }
  },
  Q5_1: (b, out) => {
    for (let p = 0, y = 0; y < out.length; p += 24, y += 32) {
      const d = halfAt(b, p);
      const m = halfAt(b, p + 2);
      const high = wordAt(b, p + 4);
      for (let j = 0; j < 16; j++) {
        const q = b[p + 8 + j]!;
        out[y + j] = d * ((q & 15) | (((high >>> j) & 1) << 4)) + m;
        out[y + j + 16] = d * ((q >> 4) | (((high >>> (j + 16)) & 1) << 4)) + m;
      }
    }
  },
  Q8_0: (b, out) => {
    for (let p = 0, y = 0; y < out.length; p += 34, y += 32) {
      const d = halfAt(b, p);
      for (let j = 0; j < 32; j++) out[y + j] = d * ((b[p + 2 + j]! << 24) >> 24);
    }
  },
  Q2_K: (b, out) => {
    for (let p = 0, y = 0; y < out.length; p += 84, y += 256) {
      const d = halfAt(b, p + 80);
      const dmin = halfAt(b, p + 82);
      for (let s = 0; s < 16; s++) {
        const scale = d * (b[p + s]! & 15);
        const minimum = dmin * (b[p + s]! >> 4);
        const from = p + 16 + 32 * (s >> 3) + 16 * (s & 1);
        const shift = 2 * ((s >> 1) & 3);
        for (let j = 0; j < 16; j++) out[y + 16 * s + j] = scale * ((b[from + j]! >> shift) & 3) - minimum;
      }
    }
  },
  Q3_K: (b, out) => {
    for (let p = 0, y = 0; y < out.length; p += 110, y += 256) {
      const d = halfAt(b, p + 108);
      for (let s = 0; s < 16; s++) {
        const scale = d * scaleOfQ3K(b, p + 96, s);
        const from = p + 32 + 32 * (s >> 3) + 16 * (s & 1);
        const shift = 2 * ((s >> 1) & 3);
        const high = p + 16 * (s & 1);
        const bit = s >> 1;
        for (let j = 0; j < 16; j++)
          out[y + 16 * s + j] = scale * (((b[from + j]! >> shift) & 3) - 4 + (((b[high + j]! >> bit) & 1) << 2));
      }
    }
  },
  Q4_K: (b, out) => {
    for (let p = 0, y = 0; y < out.length; p += 144, y += 256) {
      const d = halfAt(b, p);
      const dmin = halfAt(b, p + 2);
      for (let s = 0; s < 8; s++) {
        const scale = d * scaleOfQ45K(b, p + 4, s);
        const minimum = dmin * minimumOfQ45K(b, p + 4, s);
        const from = p + 16 + 32 * (s >> 1);
        const shift = 4 * (s & 1);
        for (let j = 0; j < 32; j++) out[y + 32 * s + j] = scale * ((b[from + j]! >> shift) & 15) - minimum;
      }
    }
  },
  Q5_K: (b, out) => {
    for (let p = 0, y = 0; y < out.length; p += 176, y += 256) {
      const d = halfAt(b, p);
      const dmin = halfAt(b, p + 2);
      for (let s = 0; s < 8; s++) {
        const scale = d * scaleOfQ45K(b, p + 4, s);
        const minimum = dmin * minimumOfQ45K(b, p + 4, s);
        const from = p + 48 + 32 * (s >> 1);
        const shift = 4 * (s & 1);
        for (let j = 0; j < 32; j++) {
          const q = ((b[from + j]! >> shift) & 15) | (((b[p + 16 + j]! >> s) & 1) << 4);
          out[y + 32 * s + j] = scale * q - minimum;
        }
      }
    }
  },
  Q6_K: (b, out) => {
    for (let p = 0, y = 0; y < out.length; p += 210, y += 256) {
      const d = halfAt(b, p + 208);
      for (let s = 0; s < 16; s++) {
        const scale = d * ((b[p + 192 + s]! << 24) >> 24);
        const { low, lowShift, high, highShift } = placeOfQ6K(s);
        for (let j = 0; j < 16; j++) {
          const q = ((b[p + low + j]! >> lowShift) & 15) | (((b[p + high + j]! >> highShift) & 3) << 4);
          out[y + 16 * s + j] = scale * (q - 32);
        }
      }
    }
  },
};

/** Signed scale −32…31 of sub-block `s` (of 16) of Q3_K: 12 bytes at `p` hold low nibbles, then pairs of high bits. */
const scaleOfQ3K = (b: Uint8Array, p: number, s: number): number =>
  (((b[p + (s & 7)]! >> (4 * (s >> 3))) & 15) | (((b[p + 8 + (s & 3)]! >> (2 * (s >> 2))) & 3) << 4)) - 32;

/** Scale 0…63 of sub-block `s` (of 8) of Q4_K and Q5_K: 12 bytes at `p`, six bits each. */
const scaleOfQ45K = (b: Uint8Array, p: number, s: number): number =>
  s < 4 ? b[p + s]! & 63 : (b[p + s + 4]! & 15) | ((b[p + s - 4]! >> 6) << 4);

/** Minimum 0…63 of sub-block `s`, stored as the scales are. */
const minimumOfQ45K = (b: Uint8Array, p: number, s: number): number =>
  s < 4 ? b[p + s + 4]! & 63 : (b[p + s + 4]! >> 4) | ((b[p + s]! >> 6) << 4);

/** Where the low four and the high two bits of sub-block `s` (of 16) of Q6_K lie within its block. */
const placeOfQ6K = (s: number): { low: number; lowShift: number; high: number; highShift: number } => {
  const half = s >> 3;
  const quarter = (s >> 1) & 3;
  const side = 16 * (s & 1);
  return {
    low: 64 * half + 32 * (quarter & 1) + side,
    lowShift: 4 * (quarter >> 1),
    high: 128 + 32 * half + side,
    highShift: 2 * quarter,
  };
};
