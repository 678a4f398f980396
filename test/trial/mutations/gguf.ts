/** Damage to a GGUF file: to single entries of its metadata, the rest kept whole, or to any byte. */
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import { below, pick } from '../trial.ts';
import { damageBytes } from './bytes.ts';
import { hostileNumber, hostileText, oneOf, type Mutation } from './mutation.ts';

export interface Entry {
  readonly key: string;
  readonly type: number;
  readonly value: Buffer;
}

interface Parts {
  readonly version: number;
  readonly tensors: bigint;
  readonly entries: readonly Entry[];
  /** Descriptions of tensors, padding and data, as they are. */
  readonly rest: Buffer;
  /** Where `rest` begins: the alignment of the data hangs on it. */
  readonly start: number;
}

const types = { uint32: 4, int32: 5, float32: 6, boolean: 7, string: 8, array: 9 } as const;
const sizes: Readonly<Record<number, number>> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
const alignment = 32;
const headerBytes = 24;

/** Of a sound file of version 3. */
export function readEntries(bytes: Buffer): Parts {
  let at = headerBytes;
  const text = (): string => {
    const length = Number(bytes.readBigUInt64LE(at));
    at += 8 + length;
    return bytes.toString('utf8', at - length, at);
  };
  const skip = (type: number): void => {
    if (type === types.string) return void text();
    if (type !== types.array) return void (at += sizes[type]!);
    const [item, count] = [bytes.readUInt32LE(at), Number(bytes.readBigUInt64LE(at + 4))];
    at += 12;
    for (let i = 0; i < count; i++) skip(item);
  };
  const entries = Array.from({ length: Number(bytes.readBigUInt64LE(16)) }, (): Entry => {
    const key = text();
    const type = bytes.readUInt32LE(at);
    const begin = (at += 4);
    skip(type);
    return { key, type, value: bytes.subarray(begin, at) };
  });
  return {
    version: bytes.readUInt32LE(4),
    tensors: bytes.readBigUInt64LE(8),
    entries,
    rest: bytes.subarray(at),
    start: at,
  };
}

/** The file again, its data still where the header says. */
export function writeEntries({ version, tensors, entries, rest, start }: Parts): Buffer {
  const head = Buffer.alloc(headerBytes);
  head.write('GGUF');
  head.writeUInt32LE(version, 4);
  head.writeBigUInt64LE(tensors, 8);
  head.writeBigUInt64LE(BigInt(entries.length), 16);
  const all = Buffer.concat([
    head,
    ...entries.map(({ key, type, value }) => Buffer.concat([string(key), u32(type), value])),
  ]);
  // A filler keeps the distance to the data a multiple of the alignment.
  const filler = (shift: number): Entry => ({
    key: `x.${'x'.repeat(shift)}`,
    type: types.boolean,
    value: Buffer.from([1]),
  });
  const wrong = (all.length - start) % alignment;
  if (wrong === 0) return Buffer.concat([all, rest]);
  const least = string('x.').length + 5;
  const shift = ((-(wrong + least) % alignment) + alignment) % alignment;
  return writeEntries({ version, tensors, entries: [...entries, filler(shift)], rest, start });
}

export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
export const string = (text: string): Buffer => {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
  return Buffer.concat([length, Buffer.from(text)]);
};
export const stringEntry = (key: string, text: string): Entry => ({ key, type: types.string, value: string(text) });

/** An array that is complete, and that no reader needs. */
const largeArray = (key: string, items: number): Entry => {
  const count = Buffer.alloc(8);
  count.writeBigUInt64LE(BigInt(items));
  return { key, type: types.array, value: Buffer.concat([u32(types.boolean), count, Buffer.alloc(items, 1)]) };
};

function hostileEntry({ key, type, value }: Entry, random: Random): Entry {
  switch (below(random, 6)) {
    case 0:
      return { key, type: types.string, value: string(hostileText(random)) };
    case 1: {
      const float = Buffer.alloc(4);
      float.writeFloatLE(Math.fround(pick(random, [NaN, Infinity, -1, 0, 1e38, hostileNumber(random)])));
      return { key, type: types.float32, value: float };
    }
    case 2:
      return { key, type: types.int32, value: u32(hostileNumber(random) >>> 0) };
    case 3:
      return largeArray(key, pick(random, [0, 1, 1000, 10_000_000]));
    case 4:
      return { key: pick(random, [`${key}x`, hostileText(random)]), type, value };
    default:
      return { key, type: types.uint32, value: u32(hostileNumber(random) >>> 0) };
  }
}

const damageEntry: Mutation = (bytes, random) => {
  const parts = readEntries(bytes);
  const entries = [...parts.entries];
  for (let n = 1 + below(random, 2); n > 0; n--) {
    const at = below(random, entries.length);
    if (random() < 0.1) entries.splice(at, 1);
    else if (random() < 0.1) entries.push(entries[at]!);
    else entries[at] = hostileEntry(entries[at]!, random);
  }
  return writeEntries({ ...parts, entries });
};

/** Damage within the descriptions of tensors. */
const damageTensors: Mutation = (bytes, random) => {
  const parts = readEntries(bytes);
  return writeEntries({ ...parts, rest: damageBytes(parts.rest, random) });
};

export const damageGguf = oneOf([
  [4, damageEntry],
  [2, damageTensors],
  [2, damageBytes],
]);
