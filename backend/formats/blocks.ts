/**
 * GGML blocks as the blocks of ONNX Runtime's MatMulNBits, without going through floats: the weight of each element stays
 * `scale · (quant − zeroPoint) + minimum`, bit for bit what dequantise() gives. Knows no graph.
 */
import { blockInfo, minimumOfQ45K, placeOfQ6K, scaleOfQ3K, scaleOfQ45K, typeBytes } from './dequantise.ts';
import { halfValues } from './halves.ts';
import type { TensorType } from './tensor-source.ts';

/**
 * A weight `[rows, columns]` in blocks along its columns. `zeroPoint` is 8 (4 bits) or 128 (8 bits) where `minima` is null,
 * MatMulNBits' own default; with minima it is 0 and the weight is `scale · quant + minimum`.
 */
export interface WeightBlocks {
  readonly bits: 4 | 8;
  readonly blockSize: 16 | 32 | 64 | 128;
  readonly zeroPoint: 0 | 8 | 128;
  /** `[rows, columns / blockSize, blockSize · bits / 8]`; at 4 bits two a byte, the lower column in the low nibble. */
  readonly quants: Uint8Array;
  /** `[rows, columns / blockSize]`. */
  readonly scales: Float32Array;
  /** `[rows, columns / blockSize]`, or null where every minimum is zero by definition of the type. */
  readonly minima: Float32Array | null;
}

/** Bits, block size and zero point a type gets; null where it has no blocks. */
export const blockForm = (type: TensorType): Pick<WeightBlocks, 'bits' | 'blockSize' | 'zeroPoint'> | null => {
  const form = forms[type];
  return form === undefined ? null : { bits: form.bits, blockSize: form.blockSize, zeroPoint: form.zeroPoint };
};

/**
 * Repacks whole rows of a block-quantised weight; `bytes` holds `rows · columns` elements. Null for types without blocks.
 * Exact for every type: scales and minima are products of a 16-bit float and at most seven bits.
 */
export function toBlocks(type: TensorType, bytes: Uint8Array, rows: number, columns: number): WeightBlocks | null {
  const form = forms[type];
  if (form === undefined) return null;
  if (columns % blockInfo(type).elements !== 0 || bytes.length !== typeBytes(type, rows * columns))
    throw new RangeError(`${rows} × ${columns} elements of ${type} do not take ${bytes.length} bytes`);
  const { bits, blockSize, zeroPoint, repack } = form;
  const count = (rows * columns) / blockSize;
  const quants = new Uint8Array((rows * columns * bits) / 8);
  const scales = new Float32Array(count);
  const minima = zeroPoint === 0 ? new Float32Array(count) : null;
  repack(bytes, quants, scales, minima ?? empty);
  return { bits, blockSize, zeroPoint, quants, scales, minima };
}

/** Elements in a block of `quantise`; rows must be a multiple of it. */
export const quantisedBlock = 32;

/** Rounds a float32 weight `[rows, columns]` to blocks of 8 bits: at most half a 127th of each block's largest value off. */
export function quantise(weight: Float32Array): WeightBlocks {
  const quants = new Uint8Array(weight.length);
  const scales = new Float32Array(weight.length / quantisedBlock);
  for (const block of scales.keys()) {
    const from = block * quantisedBlock;
    let largest = 0;
    for (let i = from; i < from + quantisedBlock; i++) largest = Math.max(largest, Math.abs(weight[i]!));
    const scale = largest / 127;
    scales[block] = scale;
    for (let i = from; i < from + quantisedBlock; i++)
      quants[i] = 128 + (scale > 0 ? Math.round(weight[i]! / scale) : 0);
  }
  return { bits: 8, blockSize: quantisedBlock, zeroPoint: 128, quants, scales, minima: null };
}

/**
 * A weight in blocks of 8 bits without minima, in larger blocks of 4 bits: what is left tells the order of products roughly. A block's
 * step is a 7.5th of the largest value in the part with the largest scale; the few beyond it are cut off.
 */
export function coarsen({ quants, scales, blockSize }: WeightBlocks, columns: number): WeightBlocks {
  const size = ([128, 64, 32] as const).find((candidate) => columns % candidate === 0);
  if (size === undefined) throw new RangeError(`${columns} columns are not blocks of 32`);
  const parts = size / blockSize;
  const coarse = new Uint8Array(quants.length / 2);
  const steps = new Float32Array(quants.length / size);
  for (let block = 0; block < steps.length; block++) {
    let widest = block * parts;
    for (let part = widest + 1; part < (block + 1) * parts; part++)
      if (Math.abs(scales[part]!) > Math.abs(scales[widest]!)) widest = part;
    let peak = 0;
    for (let i = widest * blockSize; i < (widest + 1) * blockSize; i++)
      peak = Math.max(peak, Math.abs(quants[i]! - 128));
    const step = (Math.abs(scales[widest]!) * peak) / 7.5;
    steps[block] = step;
    for (let part = block * parts; part < (block + 1) * parts; part++) {
      // In 65536ths: whole numbers are twice as fast.
      const ratio = step > 0 ? Math.round((65536 * scales[part]!) / step) : 0;
      const offset = 8.5 * 65536 - 128 * ratio;
      for (let i = part * blockSize; i < (part + 1) * blockSize; i += 2) {
        const low = nibble((quants[i]! * ratio + offset) >> 16);
        const high = nibble((quants[i + 1]! * ratio + offset) >> 16);
        coarse[i >> 1] = low | (high << 4);
      }
    }
  }
  return { bits: 4, blockSize: size, zeroPoint: 8, quants: coarse, scales: steps, minima: null };
}

const nibble = (x: number): number => (x < 0 ? 0 : x > 15 ? 15 : x);

/** Fills `out` with the values of blocks from block `first` on: the bits that dequantise() gives. */
export function expandBlocks(
  { bits, blockSize, zeroPoint, quants, scales, minima }: WeightBlocks,
  first: number,
  out: Float32Array,
): void {
  for (let to = 0, block = first; to < out.length; block++) {
    const scale = scales[block]!;
    const minimum = minima ? minima[block]! : -0; // which changes nothing, not even the sign of a zero
    const end = to + blockSize;
    if (bits === 8) {
      for (let from = block * blockSize; to < end; from++, to++)
        out[to] = scale * (quants[from]! - zeroPoint) + minimum;
    } else {
      for (let from = (block * blockSize) / 2; to < end; from++, to += 2) {
        const pair = quants[from]!;
        out[to] = scale * ((pair & 15) - zeroPoint) + minimum;
        out[to + 1] = scale * ((pair >> 4) - zeroPoint) + minimum;
      }
    }
  }
}

type Repack = (b: Uint8Array, quants: Uint8Array, scales: Float32Array, minima: Float32Array) => void;

const empty = new Float32Array(0);

interface Form {
  readonly bits: 4 | 8;
  readonly blockSize: 16 | 32;
  readonly zeroPoint: 0 | 8 | 128;
  readonly repack: Repack;
}

/** GGML keeps element j and j + 16 in one byte; MatMulNBits 2j and 2j + 1. */
function interleave(b: Uint8Array, p: number, quants: Uint8Array, o: number): void {
  for (let j = 0; j < 8; j++) {
    const first = b[p + 2 * j]!;
    const second = b[p + 2 * j + 1]!;
    quants[o + j] = (first & 15) | ((second & 15) << 4);
    quants[o + 8 + j] = (first >> 4) | (second & 0xf0);
  }
}

/** Five-bit quants of a block of 32, each raised by `shift`, one a byte; four at a time, since a model has hundreds of millions. */
function widenFive(b: Uint16Array, low: number, high: number, shift: number, quants: Uint32Array, o: number): void {
  const bits = b[high]! | (b[high + 1]! << 16);
  const raised = shift * 0x01010101;
  for (let j = 0; j < 4; j++) {
    const q = b[low + 2 * j]! | (b[low + 2 * j + 1]! << 16);
    quants[o + j] = ((q & 0x0f0f0f0f) | fifthBits[(bits >>> (4 * j)) & 15]!) + raised;
    quants[o + 4 + j] = (((q >>> 4) & 0x0f0f0f0f) | fifthBits[(bits >>> (4 * j + 16)) & 15]!) + raised;
  }
}

/** Four bits as the fifth bits of four bytes. */
const fifthBits = Uint32Array.from({ length: 16 }, (_, bits) =>
  [0, 1, 2, 3].reduce((word, i) => word | (((bits >> i) & 1) << (8 * i + 4)), 0),
);

/** The same bytes two by two, little-endian as files and processors are. */
const pairs = (b: Uint8Array): Uint16Array =>
  b.byteOffset % 2 === 0 ? new Uint16Array(b.buffer, b.byteOffset, b.length >> 1) : pairs(b.slice());

/** Fresh memory of whole blocks, four bytes at once. */
const fours = (b: Uint8Array): Uint32Array => new Uint32Array(b.buffer, b.byteOffset, b.length >> 2);

const half = (b: Uint8Array, p: number): number => halfValues[b[p]! | (b[p + 1]! << 8)]!;

const forms: Partial<Record<TensorType, Form>> = {
  Q4_0: {
    bits: 4,
    blockSize: 32,
    zeroPoint: 8,
    repack: (b, quants, scales) => {
      for (let i = 0, p = 0; i < scales.length; i++, p += 18) {
        scales[i] = half(b, p);
        interleave(b, p + 2, quants, 16 * i);
      }
    },
  },
  Q4_1: {
    bits: 4,
    blockSize: 32,
    zeroPoint: 0,
    repack: (b, quants, scales, minima) => {
      for (let i = 0, p = 0; i < scales.length; i++, p += 20) {
        scales[i] = half(b, p);
        minima[i] = half(b, p + 2);
        interleave(b, p + 4, quants, 16 * i);
      }
    },
  },
  Q5_0: {
    bits: 8,
    blockSize: 32,
    zeroPoint: 128,
    repack: (b, quants, scales) => {
      const [words, wide] = [pairs(b), fours(quants)];
      for (let i = 0, p = 0; i < scales.length; i++, p += 11) {
        scales[i] = halfValues[words[p]!]!;
        widenFive(words, p + 3, p + 1, 128 - 16, wide, 8 * i);
      }
    },
  },
  Q5_1: {
    bits: 8,
    blockSize: 32,
    zeroPoint: 0,
    repack: (b, quants, scales, minima) => {
      const [words, wide] = [pairs(b), fours(quants)];
      for (let i = 0, p = 0; i < scales.length; i++, p += 12) {
        scales[i] = halfValues[words[p]!]!;
        minima[i] = halfValues[words[p + 1]!]!;
        widenFive(words, p + 4, p + 2, 0, wide, 8 * i);
      }
    },
  },
  Q8_0: {
    bits: 8,
    blockSize: 32,
    zeroPoint: 128,
    repack: (b, quants, scales) => {
      const [words, wide] = [pairs(b), fours(quants)];
      for (let i = 0, p = 0; i < scales.length; i++, p += 17) {
        scales[i] = halfValues[words[p]!]!;
        // Adding 128 to a signed byte flips its highest bit.
        for (let j = 0; j < 8; j++)
          wide[8 * i + j] = (words[p + 1 + 2 * j]! | (words[p + 2 + 2 * j]! << 16)) ^ 0x80808080;
      }
    },
  },
  Q2_K: {
    bits: 4,
    blockSize: 16,
    zeroPoint: 0,
    repack: (b, quants, scales, minima) => {
      for (let i = 0; i < scales.length; i++) {
        const p = 84 * (i >> 4);
        const s = i & 15;
        scales[i] = half(b, p + 80) * (b[p + s]! & 15);
        minima[i] = -half(b, p + 82) * (b[p + s]! >> 4);
        const from = p + 16 + 32 * (s >> 3) + 16 * (s & 1);
        const shift = 2 * ((s >> 1) & 3);
        for (let j = 0; j < 8; j++)
          quants[8 * i + j] = ((b[from + 2 * j]! >> shift) & 3) | (((b[from + 2 * j + 1]! >> shift) & 3) << 4);
      }
    },
  },
  Q3_K: {
    bits: 4,
    blockSize: 16,
    zeroPoint: 8,
    repack: (b, quants, scales) => {
      for (let i = 0; i < scales.length; i++) {
        const p = 110 * (i >> 4);
        const s = i & 15;
        scales[i] = half(b, p + 108) * scaleOfQ3K(b, p + 96, s);
        const from = p + 32 + 32 * (s >> 3) + 16 * (s & 1);
        const shift = 2 * ((s >> 1) & 3);
        const high = p + 16 * (s & 1);
        const quant = (j: number): number =>
          ((b[from + j]! >> shift) & 3) + 4 + (((b[high + j]! >> (s >> 1)) & 1) << 2);
        for (let j = 0; j < 8; j++) quants[8 * i + j] = quant(2 * j) | (quant(2 * j + 1) << 4);
      }
    },
  },
  Q4_K: {
    bits: 4,
    blockSize: 32,
    zeroPoint: 0,
    repack: (b, quants, scales, minima) => {
      for (let i = 0; i < scales.length; i++) {
        const p = 144 * (i >> 3);
        const s = i & 7;
        scales[i] = half(b, p) * scaleOfQ45K(b, p + 4, s);
        minima[i] = -half(b, p + 2) * minimumOfQ45K(b, p + 4, s);
        const from = p + 16 + 32 * (s >> 1);
        const shift = 4 * (s & 1);
        for (let j = 0; j < 16; j++)
          quants[16 * i + j] = ((b[from + 2 * j]! >> shift) & 15) | (((b[from + 2 * j + 1]! >> shift) & 15) << 4);
      }
    },
  },
  Q5_K: {
    bits: 8,
    blockSize: 32,
    zeroPoint: 0,
    repack: (b, quants, scales, minima) => {
      for (let i = 0; i < scales.length; i++) {
        const p = 176 * (i >> 3);
        const s = i & 7;
        scales[i] = half(b, p) * scaleOfQ45K(b, p + 4, s);
        minima[i] = -half(b, p + 2) * minimumOfQ45K(b, p + 4, s);
        const from = p + 48 + 32 * (s >> 1);
        const shift = 4 * (s & 1);
        for (let j = 0; j < 32; j++)
          quants[32 * i + j] = ((b[from + j]! >> shift) & 15) | (((b[p + 16 + j]! >> s) & 1) << 4);
      }
    },
  },
  Q6_K: {
    bits: 8,
    blockSize: 16,
    zeroPoint: 128,
    repack: (b, quants, scales) => {
      for (let i = 0; i < scales.length; i++) {
        const p = 210 * (i >> 4);
        const s = i & 15;
        scales[i] = half(b, p + 208) * ((b[p + 192 + s]! << 24) >> 24);
        const { low, lowShift, high, highShift } = placeOfQ6K(s);
        for (let j = 0; j < 16; j++) {
          const q = ((b[p + low + j]! >> lowShift) & 15) | (((b[p + high + j]! >> highShift) & 3) << 4);
          quants[16 * i + j] = q - 32 + 128;
        }
      }
    },
  },
};
