/**
 * The metadata of a GGUF file: the position of each value. Numbers are read at once. Texts and arrays stay on disk until they are needed,
 * since a vocabulary is large, a hostile array may be enormous, and most readers need neither. Knows no key.
 */
import { userError, type UserError } from '../../protocol/errors.ts';
import type { RangeFile } from '../system/files.ts';
import { shorten } from './safetensors.ts';

type NumericArray =
  Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array | Float64Array;

/** A metadata value. 64-bit integers are numbers, rounded beyond 2^53; arrays of them are `Float64Array`, of booleans bytes. */
export type GgufValue = number | boolean | string | NumericArray | readonly string[];

export interface GgufMetadata {
  /** Reads texts and arrays from the file each time. Throws `bad-weights` if a value does not have its declared type. */
  get(key: string): GgufValue | undefined;
  /** The type and value of an entry as the file has them. */
  encoded(key: string): Uint8Array;
  keys(): IterableIterator<string>;
}

/** Reads forward through a file in windows, never past its end. */
export interface Cursor {
  readonly file: RangeFile;
  /** The next `length` bytes, valid until the next call. */
  take(length: number): Uint8Array;
  /** Goes past `length` bytes unread. */
  skip(length: number): void;
  u32(): number;
  u64(): number;
  string(limit: number): string;
  /** A u64 that counts items of at least `each` bytes: no more than the rest of the file can contain, nor than `limit`. */
  count(of: string, each: number, limit?: number): number;
  position(): number;
}

// A value 64 MiB long is no setting; chat templates, the longest real strings, have some tens of kilobytes.
const maxStringBytes = 2 ** 26;
// Eight times the largest real vocabularies and lists of merges; each string costs memory of its own.
const maxStrings = 2 ** 22;
/** Longer keys and names of tensors are refused: llama.cpp takes 64 bytes, other writers are given some room. */
export const maxNameBytes = 1024;
// An entry takes at least an empty key, a type and one byte; some dozens are usual, and each costs memory.
const minEntryBytes = 13;
const maxEntries = 100_000;

/** What every complaint of a GGUF file's bytes looks like. */
export const badGguf = (file: RangeFile, what: string): UserError =>
  userError('bad-weights', `${file.path} is not a sound GGUF file: ${what}.`, 'Get the file again.');

/** The number of entries in the header, checked. */
export const entryCount = (cursor: Cursor): number => cursor.count('metadata entries', minEntryBytes, maxEntries);

/** Skips `entries` keys and values and remembers the positions of the values. The result reads from the cursor's file. */
export function readMetadata(cursor: Cursor, entries: number): GgufMetadata {
  const { file } = cursor;
  const found = noEntries();
  for (let i = 0; i < entries; i++) readEntry(cursor, found);
  return metadataOf(file, found);
}

/** The same of a file of which only the beginning is there: the entries that are there whole. */
export function readFirstMetadata(cursor: Cursor, entries: number): GgufMetadata {
  const { file } = cursor;
  const found = noEntries();
  try {
    for (let i = 0; i < entries; i++) readEntry(cursor, found);
  } catch {
    // The next entry is not there whole, or not sound, which is said once the file is opened.
  }
  return metadataOf(file, found);
}

interface Entries {
  readonly values: Map<string, number | boolean | Stored>;
  readonly spans: Map<string, { readonly start: number; readonly end: number }>;
}

const noEntries = (): Entries => ({ values: new Map(), spans: new Map() });

function readEntry(cursor: Cursor, { values, spans }: Entries): void {
  const key = cursor.string(maxNameBytes);
  if (values.has(key)) throw badGguf(cursor.file, `the key ${shorten(key)} occurs twice`);
  const start = cursor.position();
  values.set(key, passValue(cursor, cursor.u32(), key));
  spans.set(key, { start, end: cursor.position() });
}

function metadataOf(file: RangeFile, { values, spans }: Entries): GgufMetadata {
  return {
    get(key) {
      const value = values.get(key);
      return typeof value === 'object' ? readStored(file, value, key) : value;
    },
    encoded(key) {
      const { start, end } = spans.get(key)!;
      return file.read(start, end - start);
    },
    keys: () => values.keys(),
  };
}

/** A text (no element type) or an array that lies at `offset` of the file, its count included. */
interface Stored {
  readonly offset: number;
  readonly elements: number | null;
}

const booleanType = 7;
const stringType = 8;
const arrayType = 9;

interface NumberType {
  readonly bytes: number;
  readonly read: (view: DataView, offset: number) => number;
  readonly array: (length: number) => NumericArray;
}

const uint8: NumberType = { bytes: 1, read: (v, o) => v.getUint8(o), array: (n) => new Uint8Array(n) };
const numberTypes: Readonly<Record<number, NumberType>> = {
  0: uint8,
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

function passValue(cursor: Cursor, type: number, key: string): number | boolean | Stored {
  if (type === booleanType) return cursor.take(1)[0] !== 0;
  if (type === stringType) return passText(cursor);
  if (type === arrayType) return passArray(cursor, key);
  const { bytes, read } = numberType(cursor.file, type, key);
  return read(viewOf(cursor.take(bytes)), 0);
}

function passText(cursor: Cursor): Stored {
  const offset = cursor.position();
  cursor.skip(textLength(cursor));
  return { offset, elements: null };
}

function passArray(cursor: Cursor, key: string): Stored {
  const elements = cursor.u32();
  const offset = cursor.position();
  if (elements === stringType) {
    const count = stringCount(cursor, key);
    for (let i = 0; i < count; i++) cursor.skip(textLength(cursor));
  } else {
    // Arrays of arrays are allowed by the format; no known program writes them.
    const { bytes } = elementType(cursor.file, elements, key);
    cursor.skip(cursor.count(`elements in ${shorten(key)}`, bytes) * bytes);
  }
  return { offset, elements };
}

function readStored(file: RangeFile, { offset, elements }: Stored, key: string): GgufValue {
  const cursor = cursorOf(file, offset);
  if (elements === null) return cursor.string(maxStringBytes);
  if (elements === stringType) {
    const strings: string[] = [];
    for (let left = stringCount(cursor, key); left > 0; left--) strings.push(cursor.string(maxStringBytes));
    return strings;
  }
  const { bytes, read, array } = elementType(file, elements, key);
  const values = array(cursor.count(`elements in ${shorten(key)}`, bytes));
  const view = viewOf(cursor.take(values.length * bytes));
  for (let i = 0; i < values.length; i++) values[i] = read(view, i * bytes);
  return values;
}

const textLength = (cursor: Cursor): number => cursor.count('bytes of text', 1, maxStringBytes);

/** Eight bytes of length each, at least. */
const stringCount = (cursor: Cursor, key: string): number => cursor.count(`strings in ${shorten(key)}`, 8, maxStrings);

const elementType = (file: RangeFile, type: number, key: string): NumberType =>
  type === booleanType ? uint8 : numberType(file, type, key);

function numberType(file: RangeFile, type: number, key: string): NumberType {
  const known = numberTypes[type];
  if (known === undefined) throw badGguf(file, `the key ${shorten(key)} has the unknown value type ${type}`);
  return known;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

// Headers are read in pieces of this size; a larger value gets a read of its own.
const windowBytes = 2 ** 18;

export function cursorOf(file: RangeFile, start: number): Cursor {
  let window: Buffer = Buffer.alloc(0);
  let windowStart = start;
  let position = start;
  const need = (length: number): void => {
    if (length > file.size - position) throw badGguf(file, 'its header is longer than the file');
  };
  /** Position of the next bytes in the window, which is moved for them. */
  const pass = (length: number): number => {
    need(length);
    if (position + length > windowStart + window.length) {
      windowStart = position;
      const bytes = file.read(position, Math.min(file.size - position, Math.max(length, windowBytes)));
      window = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    }
    position += length;
    return position - length - windowStart;
  };
  const u32 = (): number => {
    const at = pass(4);
    return window.readUInt32LE(at);
  };
  const u64 = (): number => {
    const at = pass(8);
    return window.readUInt32LE(at) + window.readUInt32LE(at + 4) * 2 ** 32;
  };
  const count = (of: string, each: number, limit = Infinity): number => {
    const value = u64();
    if (value > limit || value * each > file.size - position) throw badGguf(file, `it claims ${value} ${of}`);
    return value;
  };
  return {
    file,
    take: (length) => {
      const at = pass(length);
      return window.subarray(at, at + length);
    },
    skip: (length) => {
      need(length);
      position += length;
    },
    u32,
    u64,
    string(limit) {
      const length = count('bytes of text', 1, limit);
      const at = pass(length);
      return window.toString('utf8', at, at + length);
    },
    count,
    position: () => position,
  };
}
