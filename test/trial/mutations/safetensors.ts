/** Damage to a safetensors file: to its header as JSON, its length kept right, or to any byte. */
import { damageBytes } from './bytes.ts';
import { damageJson } from './json.ts';
import { oneOf, type Mutation } from './mutation.ts';

const lengthBytes = 8;

const damageHeader: Mutation = (bytes, random) => {
  const length = Number(bytes.readBigUInt64LE(0));
  const header = damageJson(bytes.subarray(lengthBytes, lengthBytes + length), random);
  const size = Buffer.alloc(lengthBytes);
  size.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([size, header, bytes.subarray(lengthBytes + length)]);
};

export const damageSafetensors = oneOf([
  [3, damageHeader],
  [2, damageBytes],
]);
