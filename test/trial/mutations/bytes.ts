/** Damage to any file: what disks, networks and editors do to bytes. Half of it falls into the first 4 KB, where headers are. */
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import { below, pick } from '../trial.ts';
import { oneOf, type Mutation } from './mutation.ts';

const headerBytes = 4096;

const place = (bytes: Buffer, random: Random): number =>
  below(random, Math.max(1, random() < 0.5 ? Math.min(headerBytes, bytes.length) : bytes.length));

const changed = (bytes: Buffer, change: (copy: Buffer) => void): Buffer => {
  const copy = Buffer.from(bytes);
  if (copy.length > 0) change(copy);
  return copy;
};

const flipBit: Mutation = (bytes, random) =>
  changed(bytes, (copy) => (copy[place(copy, random)]! ^= 1 << below(random, 8)));

const overwrite: Mutation = (bytes, random) =>
  changed(bytes, (copy) => {
    for (let n = 1 + below(random, 8); n > 0; n--) copy[place(copy, random)] = below(random, 256);
  });

const cut: Mutation = (bytes, random) => bytes.subarray(0, place(bytes, random));

const removePiece: Mutation = (bytes, random) => {
  const at = place(bytes, random);
  return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + below(random, 64))]);
};

const repeatPiece: Mutation = (bytes, random) => {
  const at = place(bytes, random);
  const end = at + 1 + below(random, 256);
  return Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]);
};

const zeroes: Mutation = (bytes, random) =>
  changed(bytes, (copy) => {
    const at = place(copy, random);
    copy.fill(0, at, Math.min(copy.length, at + 1 + below(random, 512)));
  });

const extremes = [0n, 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

const extremeInteger: Mutation = (bytes, random) =>
  changed(bytes, (copy) => {
    if (copy.length < 8) return;
    copy.writeBigUInt64LE(pick(random, extremes), Math.min(place(copy, random), copy.length - 8));
  });

const append: Mutation = (bytes, random) =>
  Buffer.concat([bytes, Buffer.from(Array.from({ length: 1 + below(random, 64) }, () => below(random, 256)))]);

const empty: Mutation = () => Buffer.alloc(0);

export const damageBytes = oneOf([
  [4, flipBit],
  [4, overwrite],
  [3, cut],
  [3, removePiece],
  [2, repeatPiece],
  [2, zeroes],
  [4, extremeInteger],
  [1, append],
  [0.2, empty],
]);
