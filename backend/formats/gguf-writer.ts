/** Writes a GGUF file (version 3, little-endian): entries as they are encoded, tensors one after the other. Knows no model. */
import { writeFileAtomically } from '../system/files.ts';
import { tensorCode } from './gguf.ts';
import { typeBytes } from './dequantise.ts';
import { elementCount, tensorPieces, type TensorData } from './safetensors.ts';

/** A key with the type and value of its entry, encoded. */
export interface GgufEntry {
  readonly key: string;
  readonly encoded: Uint8Array;
}

const alignment = 32;

/** @throws UserError `file-system`; the file is whole or not there. The alignment among the entries must be 32, or none. */
export function writeGguf(file: string, entries: readonly GgufEntry[], tensors: readonly TensorData[]): void {
  const header: Uint8Array[] = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(entries.length)];
  for (const { key, encoded } of entries) header.push(text(key), encoded);
  let offset = 0;
  for (const { name, type, shape } of tensors) {
    header.push(text(name), u32(shape.length), ...[...shape].reverse().map(u64), u32(tensorCode(type)), u64(offset));
    offset = aligned(offset + typeBytes(type, elementCount(shape)));
  }
  const length = header.reduce((sum, { byteLength }) => sum + byteLength, 0);
  writeFileAtomically(file, pieces([...header, padding(length)], tensors), 'umask');
}

function* pieces(header: readonly Uint8Array[], tensors: readonly TensorData[]): Generator<Uint8Array> {
  yield* header;
  for (const tensor of tensors) {
    yield* tensorPieces(tensor);
    yield padding(typeBytes(tensor.type, elementCount(tensor.shape)));
  }
}

export const numberEntry = (key: string, value: number): GgufEntry => ({
  key,
  encoded: Buffer.concat([u32(4), u32(value)]),
});
export const textEntry = (key: string, value: string): GgufEntry => ({
  key,
  encoded: Buffer.concat([u32(8), text(value)]),
});

export const floatEntry = (key: string, value: number): GgufEntry => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return { key, encoded: Buffer.concat([u32(6), bytes]) };
};
export const flagEntry = (key: string, value: boolean): GgufEntry => ({
  key,
  encoded: Buffer.concat([u32(7), Buffer.from([Number(value)])]),
});
export const textsEntry = (key: string, values: readonly string[]): GgufEntry => ({
  key,
  encoded: Buffer.concat([u32(9), u32(8), u64(values.length), ...values.map(text)]),
});
/** Whole numbers of 32 bits. */
export const wholesEntry = (key: string, values: Int32Array): GgufEntry => ({
  key,
  encoded: Buffer.concat([u32(9), u32(5), u64(values.length), ...Array.from(values, (value) => u32(value >>> 0))]),
});

/**
 * An entry for a model of `to` layers instead of `from`: a list with one number for each is as long as the model is deep. A layer behind
 * the last is like the last.
 */
export function entryOfLayers(entry: GgufEntry, from: number, to: number): GgufEntry {
  const bytes = Buffer.from(entry.encoded);
  const isPerLayer =
    bytes.readUInt32LE(0) === 9 && bytes.readUInt32LE(4) !== 8 && bytes.readBigUInt64LE(8) === BigInt(from);
  if (!isPerLayer) return entry;
  const size = (bytes.length - 16) / from;
  const numbers = Array.from({ length: to }, (_, i) => {
    const at = 16 + size * Math.min(i, from - 1);
    return bytes.subarray(at, at + size);
  });
  return { key: entry.key, encoded: Buffer.concat([bytes.subarray(0, 8), u64(to), ...numbers]) };
}

const aligned = (offset: number): number => Math.ceil(offset / alignment) * alignment;
const padding = (length: number): Uint8Array => new Uint8Array(aligned(length) - length);

function u32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
function u64(value: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
function text(value: string): Uint8Array {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}
