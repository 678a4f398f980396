/**
 * The header of a GGUF file (versions 2 and 3, little-endian) and its tensors as a `TensorSource`. Read by range and
 * synchronously; each count and length is checked against what is left of the file before memory is taken for it. Knows no model.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
 */
import { userError, type UserError } from '../../protocol/errors.ts';
import { foreignKind, openRangeFile, type RangeFile } from './files.ts';
import { blockInfo, typeBytes } from './dequantise.ts';
import { elementCount, readWithin, shorten } from './safetensors.ts';
import type { TensorInfo, TensorSource, TensorType } from './tensor-source.ts';

type NumericArray =
  Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array | Float64Array;

/** A metadata value. 64-bit integers are numbers, rounded beyond 2^53; arrays of them are `Float64Array`. */
export type GgufValue = number | boolean | string | NumericArray | readonly string[] | readonly boolean[];

export type GgufMetadata = ReadonlyMap<string, GgufValue>;

export interface GgufFile extends TensorSource {
  readonly metadata: GgufMetadata;
}

/** Opens a GGUF file and reads its header. Throws `not-found`, `bad-weights` or `unsupported`. */
export function openGguf(path: string): GgufFile {
  const file = openRangeFile(path);
  try {
    const { metadata, tensors } = readHeader(file);
    const files = new Map([[path, file]]);
    return {
      files: [path],
      metadata,
      tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])),
      read: (tensor, start = 0, length = tensor.bytes - start) => readWithin(files, tensor, start, length),
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

// llama.cpp has at most four axes.
const maxAxes = 4;
// A value 64 MiB long is no setting; chat templates, the longest real strings, have some tens of kilobytes.
const maxStringBytes = 2 ** 26;
// llama.cpp refuses names of 64 bytes and more; other writers are given some room.
const maxNameBytes = 1024;
// Some dozens are usual; each costs an entry in memory.
const maxEntries = 100_000;
// The largest real models have some tens of thousands.
const maxTensors = 1_000_000;
// A multiple of what any processor asks for; llama.cpp writes 32.
const maxAlignment = 2 ** 20;
// Bytes an entry of metadata (empty key, type, one byte) and a tensor (empty name, no axes, type, offset) take at least.
const minEntryBytes = 13;
const minTensorBytes = 24;

const getAgain = 'Get the file again.';
const bad = (file: RangeFile, what: string, wayOut = getAgain): UserError =>
  userError('bad-weights', `${file.path} is not a sound GGUF file: ${what}.`, wayOut);

function readHeader(file: RangeFile): { metadata: GgufMetadata; tensors: TensorInfo[] } {
  const start = file.read(0, Math.min(file.size, 512));
  if (Buffer.from(start.subarray(0, 4)).toString('latin1') !== 'GGUF')
    throw userError(
      'bad-weights',
      `${file.path} is ${foreignKind(start) ?? 'something else'}, not a GGUF file.`,
      'Get the real file, or name a GGUF or safetensors model.',
    );
  const cursor = cursorOf(file, 4);
  checkVersion(file, cursor.u32());
  const tensorCount = cursor.count('tensors', minTensorBytes, maxTensors);
  const entryCount = cursor.count('metadata entries', minEntryBytes, maxEntries);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < entryCount; i++) {
    const key = cursor.string(maxNameBytes);
    if (metadata.has(key)) throw bad(file, `the key ${shorten(key)} occurs twice`);
    metadata.set(key, readValue(cursor, cursor.u32(), key));
  }
  checkSplit(file, metadata);
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

function checkSplit(file: RangeFile, metadata: GgufMetadata): void {
  const parts = metadata.get('split.count');
  if (typeof parts === 'number' && parts > 1)
    throw userError(
      'unsupported',
      `${file.path} is one of ${parts} parts of a split GGUF model.`,
      'Join them first: llama-gguf-split --merge FIRST-PART OUTPUT.gguf.',
    );
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
      `Tensor ${shorten(name)} of ${file.path} has GGML type ${unsupportedTypes[code] ?? code}, which is not supported.`,
      'Use a file with F32, F16, BF16, Q8_0, Q4_0 … Q5_1 or Q2_K … Q6_K weights.',
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

/** Reads forward through a file in windows, never past its end. */
interface Cursor {
  readonly file: RangeFile;
  /** The next `length` bytes, valid until the next call. */
  take(length: number): Uint8Array;
  u32(): number;
  u64(): number;
  string(limit: number): string;
  /** A u64 of things that take at least `each` bytes: no more than the rest of the file can hold, nor than `limit`. */
  count(of: string, each: number, limit?: number): number;
  position(): number;
}

// Headers are read in pieces of this size; a larger value gets a read of its own.
const windowBytes = 2 ** 18;

function cursorOf(file: RangeFile, start: number): Cursor {
  let window: Uint8Array = new Uint8Array(0);
  let windowStart = start;
  let position = start;
  const take = (length: number): Uint8Array => {
    if (length > file.size - position) throw bad(file, 'its header is longer than the file');
    if (position + length > windowStart + window.length) {
      windowStart = position;
      window = file.read(position, Math.min(file.size - position, Math.max(length, windowBytes)));
    }
    position += length;
    return window.subarray(position - length - windowStart, position - windowStart);
  };
  const view = (length: number): DataView => {
    const bytes = take(length);
    return new DataView(bytes.buffer, bytes.byteOffset, length);
  };
  const u32 = (): number => view(4).getUint32(0, true);
  const u64 = (): number => Number(view(8).getBigUint64(0, true));
  const count = (of: string, each: number, limit = Infinity): number => {
    const value = u64();
    if (value > limit || value * each > file.size - position) throw bad(file, `it claims ${value} ${of}`);
    return value;
  };
  const string = (limit: number): string => Buffer.from(take(count('bytes of text', 1, limit))).toString('utf8');
  return { file, take, u32, u64, string, count, position: () => position };
}

const arrayType = 9;
const stringType = 8;
const booleanType = 7;

interface NumberType {
  readonly bytes: number;
  readonly read: (view: DataView, offset: number) => number;
  readonly array: (length: number) => NumericArray;
}

const numberTypes: Readonly<Record<number, NumberType>> = {
  0: { bytes: 1, read: (v, o) => v.getUint8(o), array: (n) => new Uint8Array(n) },
  1: { bytes: 1, read: (v, o) => v.getInt8(o), array: (n) => new Int8Array(n) },
  2: { bytes: 2, read: (v, o) => v.getUint16(o, true), array: (n) => new Uint16Array(n) },
  3: { bytes: 2, read: (v, o) => v.getInt16(o, true), array: (n) => new Int16Array(n) },
  4: { bytes: 4, read: (v, o) => v.getUint32(o, true), array: (n) => new Uint32Array(n) },
  5: { bytes: 4, read: (v, o) => v.getInt32(o, true), array: (n) => new Int32Array(n) },
  6: { bytes: 4, read: (v, o) => v.getFloat32(o, true), array: (n) => new Float32Array(n) },
  10: { bytes: 8, read: (v, o) => Number(v.getBigUint64(o, true)), array: (n) => new Float64Array(n) },
  11: { bytes: 8, read: (v, o) => Number(v.getBigInt64(o, true)), array: (n) => new Float64Array(n) },
  12: { bytes: 8, read: (v, o) => v.getFloat64(o, true), array: (n) => new Float64Array(n) },
};

function readValue(cursor: Cursor, type: number, key: string): GgufValue {
  if (type === stringType) return cursor.string(maxStringBytes);
  if (type === booleanType) return cursor.take(1)[0] !== 0;
  if (type === arrayType) return readArray(cursor, key);
  const { bytes, read } = numberType(cursor, type, key);
  return read(viewOf(cursor.take(bytes)), 0);
}

function readArray(cursor: Cursor, key: string): GgufValue {
  const type = cursor.u32();
  if (type === stringType) {
    // Eight bytes of length each, at least.
    const count = cursor.count(`strings in ${shorten(key)}`, 8);
    const strings: string[] = [];
    for (let i = 0; i < count; i++) strings.push(cursor.string(maxStringBytes));
    return strings;
  }
  if (type === booleanType) {
    const count = cursor.count(`elements in ${shorten(key)}`, 1);
    return Array.from(cursor.take(count), (byte) => byte !== 0);
  }
  // Arrays of arrays are allowed by the format and written by nobody.
  const { bytes, read, array } = numberType(cursor, type, key);
  const count = cursor.count(`elements in ${shorten(key)}`, bytes);
  const view = viewOf(cursor.take(count * bytes));
  const values = array(count);
  for (let i = 0; i < count; i++) values[i] = read(view, i * bytes);
  return values;
}

function numberType(cursor: Cursor, type: number, key: string): NumberType {
  const known = numberTypes[type];
  if (known === undefined) throw bad(cursor.file, `the key ${shorten(key)} has the unknown value type ${type}`);
  return known;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

// ggml.h, enum ggml_type.
const tensorTypes: Readonly<Record<number, TensorType>> = {
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
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  30: 'BF16',
};
const unsupportedTypes: Readonly<Record<number, string>> = {
  9: 'Q8_1',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
};
