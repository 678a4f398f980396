/**
 * The IQ, ternary and MXFP4 blocks of GGML to 32-bit floats, by the layouts and formulas of ggml-quants.c. As in dequantise.ts, each
 * product is exact in 64 bits and rounded once. Knows no file.
 */
import { iq1, iq2s, iq2xs, iq2xxs, iq3s, iq3xxs, type Grid } from './grids.ts';
import { halfAt, halfValues, pairAt, wordAt, type Decoder } from './halves.ts';

/** Magnitudes of 4 bits (`kvalues_iq4nl`, `kvalues_mxfp4`). */
const steps = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
const halves = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
/** What the ternary IQ1 adds to a grid's values. */
const delta = 0.125;

/** Seven signs; the eighth makes their number even. */
const evenSigns = Uint8Array.from({ length: 128 }, (_, signs) => {
  let odd = 0;
  for (let bits = signs; bits > 0; bits >>= 1) odd ^= bits & 1;
  return signs | (odd << 7);
});

/** 32 values of 4 bits: element j is in the low half of byte j, element j + 16 in the high one. */
function nibbles(
  b: Uint8Array,
  p: number,
  values: readonly number[],
  scale: number,
  out: Float32Array,
  y: number,
): void {
  for (let j = 0; j < 16; j++) {
    out[y + j] = scale * values[b[p + j]! & 15]!;
    out[y + j + 16] = scale * values[b[p + j]! >> 4]!;
  }
}

/** An entry of a grid, of `size` elements, with a sign for each. */
function signed(
  grid: Grid,
  entry: number,
  size: 4 | 8,
  signs: number,
  scale: number,
  out: Float32Array,
  y: number,
): void {
  for (let j = 0; j < size; j++) {
    const value = scale * grid[entry * size + j]!;
    out[y + j] = (signs >> j) & 1 ? -value : value;
  }
}

export const iqBlocks = {
  IQ4_NL: { elements: 32, bytes: 18 },
  IQ4_XS: { elements: 256, bytes: 136 },
  IQ3_XXS: { elements: 256, bytes: 98 },
  IQ3_S: { elements: 256, bytes: 110 },
  IQ2_XXS: { elements: 256, bytes: 66 },
  IQ2_XS: { elements: 256, bytes: 74 },
  IQ2_S: { elements: 256, bytes: 82 },
  IQ1_S: { elements: 256, bytes: 50 },
  IQ1_M: { elements: 256, bytes: 56 },
  TQ1_0: { elements: 256, bytes: 54 },
  TQ2_0: { elements: 256, bytes: 66 },
  MXFP4: { elements: 32, bytes: 17 },
} as const;

export const iqDecoders: Readonly<Record<keyof typeof iqBlocks, Decoder>> = {
  IQ4_NL: (b, out) => {
    for (let p = 0, y = 0; y < out.length; p += 18, y += 32) nibbles(b, p + 2, steps, halfAt(b, p), out, y);
  },
  IQ4_XS: (b, out) => {
    for (let p = 0, y = 0; y < out.length; p += 136, y += 256) {
      const d = halfAt(b, p);
      const high = pairAt(b, p + 2);
      for (let s = 0; s < 8; s++) {
        const low = (b[p + 4 + (s >> 1)]! >> (4 * (s & 1))) & 15;
        const scale = d * ((low | (((high >> (2 * s)) & 3) << 4)) - 32);
        nibbles(b, p + 8 + 16 * s, steps, scale, out, y + 32 * s);
      }
    }
  },
  MXFP4: (b, out) => {
    // The scale is a power of two, halved because the values are doubled.
    for (let p = 0, y = 0; y < out.length; p += 17, y += 32) nibbles(b, p + 1, halves, 2 ** (b[p]! - 128), out, y);
  },
  TQ2_0: (b, out) => {
    for (let p = 0, y = 0; y < out.length; p += 66, y += 256) {
      const d = halfAt(b, p + 64);
      for (let i = 0; i < 256; i++) {
        const byte = b[p + 32 * (i >> 7) + (i & 31)]!;
        out[y + i] = d * (((byte >> (2 * ((i >> 5) & 3))) & 3) - 1);
      }
    }
  },
  TQ1_0: (b, out) => {
    for (let p = 0, y = 0; y < out.length; p += 54, y += 256) {
      const d = halfAt(b, p + 52);
      let to = y;
      // Five digits of base 3 a byte, by bytes of 32, of 16, and four digits in the last four.
      for (const [from, bytes, digits] of ternary)
        for (let n = 0, power = 1; n < digits; n++, power *= 3)
          for (let m = 0; m < bytes; m++) out[to++] = d * (((((b[p + from + m]! * power) & 255) * 3) >> 8) - 1);
    }
  },
  IQ2_XXS: (b, out) => {
    const grid = iq2xxs();
    for (let p = 0, y = 0; y < out.length; p += 66, y += 256) {
      const d = halfAt(b, p);
      for (let s = 0; s < 8; s++) {
        const at = p + 2 + 8 * s;
        const word = wordAt(b, at + 4) >>> 0;
        const scale = d * (0.5 + (word >>> 28)) * 0.25;
        for (let l = 0; l < 4; l++)
          signed(grid, b[at + l]!, 8, evenSigns[(word >>> (7 * l)) & 127]!, scale, out, y + 32 * s + 8 * l);
      }
    }
  },
  IQ2_XS: (b, out) => {
    const grid = iq2xs();
    for (let p = 0, y = 0; y < out.length; p += 74, y += 256) {
      const d = halfAt(b, p);
      for (let l = 0; l < 32; l++) {
        const pair = pairAt(b, p + 2 + 2 * l);
        const scale = d * (0.5 + nibbleAt(b, p + 66, l >> 1)) * 0.25;
        signed(grid, pair & 511, 8, evenSigns[pair >> 9]!, scale, out, y + 8 * l);
      }
    }
  },
  IQ2_S: (b, out) => {
    const grid = iq2s();
    for (let p = 0, y = 0; y < out.length; p += 82, y += 256) {
      const d = halfAt(b, p);
      for (let l = 0; l < 32; l++) {
        const high = (b[p + 66 + (l >> 2)]! >> (2 * (l & 3))) & 3;
        const scale = d * (0.5 + nibbleAt(b, p + 74, l >> 1)) * 0.25;
        signed(grid, b[p + 2 + l]! | (high << 8), 8, b[p + 34 + l]!, scale, out, y + 8 * l);
      }
    }
  },
  IQ3_XXS: (b, out) => {
    const grid = iq3xxs();
    for (let p = 0, y = 0; y < out.length; p += 98, y += 256) {
      const d = halfAt(b, p);
      for (let s = 0; s < 8; s++) {
        const word = wordAt(b, p + 66 + 4 * s) >>> 0;
        const scale = d * (0.5 + (word >>> 28)) * 0.5;
        for (let l = 0; l < 8; l++) {
          const signs = evenSigns[(word >>> (7 * (l >> 1))) & 127]! >> (4 * (l & 1));
          signed(grid, b[p + 2 + 8 * s + l]!, 4, signs, scale, out, y + 32 * s + 4 * l);
        }
      }
    }
  },
  IQ3_S: (b, out) => {
    const grid = iq3s();
    for (let p = 0, y = 0; y < out.length; p += 110, y += 256) {
      const d = halfAt(b, p);
      for (let l = 0; l < 64; l++) {
        const high = (b[p + 66 + (l >> 3)]! >> (l & 7)) & 1;
        const signs = b[p + 74 + (l >> 1)]! >> (4 * (l & 1));
        const scale = d * (1 + 2 * nibbleAt(b, p + 106, l >> 3));
        signed(grid, b[p + 2 + l]! | (high << 8), 4, signs, scale, out, y + 4 * l);
      }
    }
  },
  IQ1_S: (b, out) => {
    const grid = iq1();
    for (let p = 0, y = 0; y < out.length; p += 50, y += 256) {
      const d = halfAt(b, p);
      for (let l = 0; l < 32; l++) {
        const high = pairAt(b, p + 34 + 2 * (l >> 2));
        const scale = d * (2 * ((high >> 12) & 7) + 1);
        const entry = b[p + 2 + l]! | (((high >> (3 * (l & 3))) & 7) << 8);
        shifted(grid, entry, high & 0x8000 ? -delta : delta, scale, out, y + 8 * l);
      }
    }
  },
  IQ1_M: (b, out) => {
    const grid = iq1();
    for (let p = 0, y = 0; y < out.length; p += 56, y += 256) {
      // Four bits of the scale stand above four pairs of block scales.
      const scales = [0, 1, 2, 3].map((i) => pairAt(b, p + 48 + 2 * i));
      const d = halfValues[scales.reduce((bits, pair, i) => bits | ((pair >> 12) << (4 * i)), 0)]!;
      for (let l = 0; l < 32; l++) {
        const high = nibbleAt(b, p + 32, l);
        const scale = d * (2 * ((scales[l >> 3]! >> (3 * ((l >> 1) & 3))) & 7) + 1);
        shifted(grid, b[p + l]! | ((high & 7) << 8), high & 8 ? -delta : delta, scale, out, y + 8 * l);
      }
    }
  },
};

/** First byte, bytes and digits of each part of a TQ1_0 block. */
const ternary = [
  [0, 32, 5],
  [32, 16, 5],
  [48, 4, 4],
] as const;

const nibbleAt = (b: Uint8Array, p: number, i: number): number => (b[p + (i >> 1)]! >> (4 * (i & 1))) & 15;

function shifted(grid: Grid, entry: number, by: number, scale: number, out: Float32Array, y: number): void {
  for (let j = 0; j < 8; j++) out[y + j] = scale * (grid[entry * 8 + j]! + by);
}
