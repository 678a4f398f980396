/** Damage to JSON that leaves it JSON: values of other kinds and sizes, names that mean something, things missing and doubled. */
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import { below, pick } from '../trial.ts';
import { damageBytes } from './bytes.ts';
import { hostileNumber, hostileText, oneOf, type Mutation } from './mutation.ts';

const nested = (depth: number): unknown => {
  let value: unknown = [];
  for (let i = 0; i < depth; i++) value = [value];
  return value;
};

export function hostileValue(random: Random): unknown {
  switch (below(random, 9)) {
    case 0:
    case 1:
    case 2:
      return hostileNumber(random);
    case 3:
    case 4:
      return hostileText(random);
    case 5:
      return pick(random, [null, true, false]);
    case 6:
      return pick<unknown>(random, [[], [[]], [null], {}, { type: 'X' }, { toString: 1 }]);
    case 7:
      return Array.from({ length: pick(random, [1, 100, 100_000]) }, () => hostileNumber(random));
    default:
      return nested(pick(random, [10, 3000]));
  }
}

/** The same tree with one value in it changed. */
export function damageValue(value: unknown, random: Random): unknown {
  if (typeof value !== 'object' || value === null || random() < 0.1) return nearby(value, random);
  const keys = Object.keys(value);
  if (keys.length === 0) return hostileValue(random);
  const key = pick(random, keys);
  const old = (value as Record<string, unknown>)[key];
  if (random() < 0.1) return withKey(value, keys, key, null);
  if (random() < 0.05) return withKey(value, keys, key, [hostileText(random), old]);
  return withKey(value, keys, key, [key, damageValue(old, random)]);
}

/** A value of the same kind but another size, or of any kind. */
function nearby(value: unknown, random: Random): unknown {
  if (typeof value === 'number' && random() < 0.4)
    return pick(random, [value + 1, value - 1, -value, value * 2, value / 2]);
  if (typeof value === 'string' && random() < 0.3)
    return pick(random, [`${value}x`, value.slice(1), value.toUpperCase()]);
  return hostileValue(random);
}

/** A copy whose `key` is another name and value, or missing where `entry` is null. Never sets a prototype. */
function withKey(value: object, keys: string[], key: string, entry: readonly [string, unknown] | null): unknown {
  if (Array.isArray(value)) {
    const at = Number(key);
    return [...(value.slice(0, at) as unknown[]), ...(entry ? [entry[1]] : []), ...(value.slice(at + 1) as unknown[])];
  }
  return Object.fromEntries(
    keys.flatMap((name) => {
      if (name !== key) return [[name, (value as Record<string, unknown>)[name]] as const];
      return entry ? [entry] : [];
    }),
  );
}

const damageTree: Mutation = (bytes, random) => {
  let value: unknown = JSON.parse(bytes.toString());
  for (let n = 1 + below(random, 3); n > 0; n--) value = damageValue(value, random);
  return Buffer.from(JSON.stringify(value) ?? 'null');
};

/** Numbers that JSON can write and JavaScript's numbers cannot hold. */
const overflow: Mutation = (bytes, random) => {
  const text = bytes.toString();
  const numbers = [...text.matchAll(/\b\d+(\.\d+)?\b/g)];
  if (numbers.length === 0) return bytes;
  const { 0: found, index } = pick(random, numbers);
  const other = pick(random, ['1e400', '-1e400', '99999999999999999999', '1e-400', '-0', '0x10', 'NaN']);
  return Buffer.from(`${text.slice(0, index)}${other}${text.slice(index + found.length)}`);
};

export const damageJson = oneOf([
  [7, damageTree],
  [1, overflow],
  [2, damageBytes],
]);
