/**
 * The header of a GGUF file (versions 2 and 3, little-endian) and its tensors as a `TensorSource`. Read by range and
 * synchronously; each count and length is checked against what is left of the file before memory is taken for it. Knows no model.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
 */
import { userError } from '../../protocol/errors.ts';
import { foreignKind, openRangeFile, statOf, type RangeFile } from '../system/files.ts';
import { blockInfo, typeBytes } from './dequantise.ts';
import {
  badGguf as bad,
  cursorOf,
  entryCount,
  maxNameBytes,
  readFirstMetadata,
  readMetadata,
  type Cursor,
  type GgufMetadata,
} from './gguf-metadata.ts';
import { elementCount, readWithin, shorten } from './safetensors.ts';
import type { TensorInfo, TensorSource, TensorType } from './tensor-source.ts';

export interface GgufFile extends TensorSource {
  /** Texts and arrays can be read until the file is closed. */
  readonly metadata: GgufMetadata;
}

/**
 * Opens a GGUF file, with its other parts if it is one of several, and reads the headers. Throws `not-found`, `bad-weights` or
 * `unsupported`.
 */
export function openGguf(path: string): GgufFile {
  const parts: Part[] = [];
  try {
    parts.push(openPart(path));
    const count = partCount(parts[0]!);
    if (count > 1) openOthers(parts, count);
    const files = new Map(parts.map(({ file }) => [file.path, file]));
    return {
      files: [...files.keys()],
      metadata: parts[0]!.metadata,
      tensors: new Map(parts.flatMap(({ tensors }) => tensors.map((tensor) => [tensor.name, tensor] as const))),
      read: (tensor, start = 0, length = tensor.bytes - start, allocate) =>
        readWithin(files, tensor, start, length, allocate),
      close: () => parts.forEach(({ file }) => file.close()),
    };
  } catch (error) {
    parts.forEach(({ file }) => file.close());
    throw error;
  }
}

/**
 * Reads metadata of a GGUF file of which only the beginning is there: the entries that are there whole. Null if it does not begin like a
 * GGUF file.
 */
export function readGgufBeginning<Result>(path: string, read: (metadata: GgufMetadata) => Result): Result | null {
  const file = openRangeFile(path);
  try {
    const cursor = cursorOf(file, 0);
    if (!isGguf(cursor.take(4))) return null;
    checkVersion(file, cursor.u32());
    cursor.skip(8); // the number of tensors
    return read(readFirstMetadata(cursor, entryCount(cursor)));
  } finally {
    file.close();
  }
}

const isGguf = (start: Uint8Array): boolean => Buffer.from(start.subarray(0, 4)).toString('latin1') === 'GGUF';

interface Part {
  readonly file: RangeFile;
  readonly metadata: GgufMetadata;
  readonly tensors: readonly TensorInfo[];
}

function openPart(path: string): Part {
  const file = openRangeFile(path);
  try {
    return { file, ...readHeader(file) };
  } catch (error) {
    file.close();
    throw error;
  }
}

// llama.cpp has at most four axes.
const maxAxes = 4;
// The largest real models have some tens of thousands.
const maxTensors = 1_000_000;
// A multiple of the alignment of any processor; llama.cpp writes 32.
const maxAlignment = 2 ** 20;
// Bytes a tensor (empty name, no axes, type, offset) takes at least.
const minTensorBytes = 24;

function readHeader(file: RangeFile): { metadata: GgufMetadata; tensors: TensorInfo[] } {
  const start = file.read(0, Math.min(file.size, 512));
  if (!isGguf(start))
    throw userError(
      'bad-weights',
      `${file.path} is ${foreignKind(start) ?? 'something else'}, not a GGUF file.`,
      'Get the real file, or name a GGUF or safetensors model.',
    );
  const cursor = cursorOf(file, 4);
  checkVersion(file, cursor.u32());
  const tensorCount = cursor.count('tensors', minTensorBytes, maxTensors);
  const metadata = readMetadata(cursor, entryCount(cursor));
  const described = Array.from({ length: tensorCount }, () => readTensor(cursor));
  const alignment = alignmentOf(file, metadata);
  const dataStart = Math.ceil(cursor.position() / alignment) * alignment;
  const tensors = described.map((tensor) => place(file, tensor, dataStart, alignment));
  checkOverlaps(file, tensors);
  return { metadata, tensors };
}

function checkVersion(file: RangeFile, version: number): void {
  if (version === 2 || version === 3) return;
  const bigEndian = version !== 0 && (version & 0xffff) === 0;
  throw userError(
    'unsupported',
    `${file.path} is ${bigEndian ? 'a big-endian GGUF file' : `GGUF version ${version}`}, which is not supported.`,
    'Convert the model again with a current version of llama.cpp.',
  );
}

// Each part is an open file.
const maxParts = 2_000;

function partCount({ file, metadata }: Part): number {
  const count = metadata.get('split.count') ?? 1;
  if (typeof count === 'number' && Number.isInteger(count) && count >= 0 && count <= maxParts) return count;
  throw bad(file, `its "split.count" is no number of parts up to ${maxParts}`);
}

/** Opens all parts of a split model, in their order; `parts` has one of them. */
function openOthers(parts: Part[], count: number): void {
  const given = parts[0]!;
  const { path } = given.file;
  const digits = (n: number): string => String(n).padStart(5, '0');
  const stem = /^(.*-)\d{5}-of-(\d{5})\.gguf$/.exec(path);
  if (stem?.[2] !== digits(count))
    throw userError(
      'bad-weights',
      `${path} is one of ${count} parts ("split.count"), but is not named …-00001-of-${digits(count)}.gguf.`,
      'Give all parts the names they were made with.',
    );
  for (let i = 0; i < count; i++) {
    const name = `${stem[1]!}${digits(i + 1)}-of-${digits(count)}.gguf`;
    if (statOf(name) === null)
      throw userError(
        'not-found',
        `${name} is missing: ${path} is one of ${count} parts ("split.count").`,
        'Get all parts of the model into one folder.',
      );
    if (name === path) parts.push(parts.shift()!);
    else parts.push(openPart(name));
    // The part that was given stays open until its turn, so that it is closed in any case.
  }
  checkParts(parts);
}

/** @throws UserError if parts are not those of one model, each in its place. */
function checkParts(parts: readonly Part[]): void {
  const [first] = parts as [Part];
  const twoModels = (file: RangeFile, what: string): Error =>
    userError(
      'bad-weights',
      `${file.path} is no part of the model that begins in ${first.file.path}: ${what}.`,
      'Get all parts of one model into one folder.',
    );
  const names = new Set<string>();
  for (const [i, { file, metadata, tensors }] of parts.entries()) {
    for (const [key, wanted] of [
      ['split.no', i],
      ['split.count', parts.length],
      ['split.tensors.count', first.metadata.get('split.tensors.count')],
    ] as const)
      if (metadata.get(key) !== wanted) throw twoModels(file, `its "${key}" is not ${String(wanted)}`);
    for (const { name } of tensors) {
      if (names.has(name)) throw twoModels(file, `tensor ${shorten(name)} is in an earlier part too`);
      names.add(name);
    }
  }
  const wanted = first.metadata.get('split.tensors.count');
  if (wanted !== undefined && wanted !== names.size)
    throw twoModels(parts.at(-1)!.file, `all have ${names.size} tensors, "split.tensors.count" is ${String(wanted)}`);
}

interface Described {
  readonly name: string;
  readonly type: TensorType;
  readonly shape: readonly number[];
  readonly offset: number;
}

function readTensor(cursor: Cursor): Described {
  const { file } = cursor;
  const name = cursor.string(maxNameBytes);
  const axes = cursor.u32();
  if (axes > maxAxes) throw bad(file, `tensor ${shorten(name)} has ${axes} axes`);
  const shape = Array.from({ length: axes }, () => cursor.u64()).reverse();
  // Times eight: the product in bytes must stay exact too.
  if (!Number.isSafeInteger(elementCount(shape) * 8))
    throw bad(file, `tensor ${shorten(name)} has an impossible shape`);
  const code = cursor.u32();
  const type = tensorTypes[code];
  if (type === undefined)
    throw userError(
      'unsupported',
      `Tensor ${shorten(name)} of ${file.path} has GGML type ${otherTypes[code] ?? code}, which is not supported.`,
      'Use a file with F32, F16, BF16, Q8_0, Q4_0 … Q5_1, Q2_K … Q6_K, IQ, TQ or MXFP4 weights.',
    );
  if ((shape.at(-1) ?? 1) % blockInfo(type).elements !== 0)
    throw bad(file, `the rows of tensor ${shorten(name)} are no multiple of a ${type} block`);
  return { name, type, shape, offset: cursor.u64() };
}

function place(file: RangeFile, tensor: Described, dataStart: number, alignment: number): TensorInfo {
  const { name, type, shape } = tensor;
  const bytes = typeBytes(type, elementCount(shape));
  const offset = dataStart + tensor.offset;
  if (tensor.offset % alignment !== 0) throw bad(file, `tensor ${shorten(name)} is not aligned`);
  if (!(offset + bytes <= file.size))
    throw bad(
      file,
      `tensor ${shorten(name)} ends at byte ${offset + bytes}, the file at ${file.size} (is it truncated?)`,
    );
  return { name, type, shape, file: file.path, offset, bytes };
}

function checkOverlaps(file: RangeFile, tensors: readonly TensorInfo[]): void {
  const names = new Set(tensors.map(({ name }) => name));
  if (names.size !== tensors.length) throw bad(file, 'two tensors have the same name');
  let end = 0;
  for (const { name, offset, bytes } of [...tensors].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (offset < end) throw bad(file, `tensor ${shorten(name)} overlaps another`);
    end = offset + bytes;
  }
}

function alignmentOf(file: RangeFile, metadata: GgufMetadata): number {
  const alignment = metadata.get('general.alignment') ?? 32;
  if (typeof alignment === 'number' && alignment >= 1 && alignment <= maxAlignment && Math.log2(alignment) % 1 === 0)
    return alignment;
  throw bad(file, `its alignment is no power of two`);
}

// ggml.h, enum ggml_type.
export const tensorTypes: Readonly<Record<number, TensorType>> = {
  0: 'F32',
  1: 'F16',
  2: 'Q4_0',
  3: 'Q4_1',
  6: 'Q5_0',
  7: 'Q5_1',
  8: 'Q8_0',
  10: 'Q2_K',
  11: 'Q3_K',
  12: 'Q4_K',
  13: 'Q5_K',
  14: 'Q6_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  30: 'BF16',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
};

/** The number of a type in a file. */
export const tensorCode = (type: TensorType): number =>
  Number(Object.keys(tensorTypes).find((code) => tensorTypes[Number(code)] === type));
/** Names that people know; a type without one is shown by its number. */
const otherTypes: Readonly<Record<number, string>> = { 9: 'Q8_1', 15: 'Q8_K', 40: 'NVFP4' };
