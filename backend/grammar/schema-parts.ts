/** Reads keywords of a JSON schema, each with its kind. */
import { badGrammar } from './code.ts';
import type { Expression } from './expression.ts';
import type { Bounds } from './numbers.ts';

export type Schema = Readonly<Record<string, unknown>>;

/** A rule that may name itself, made once, and after what names it. */
export type Define = (name: string, make: () => Expression) => Expression;

/** Least and most number; null: any. */
export function boundsOf(one: Schema): Bounds | null {
  const [minimum, maximum, above, below] = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'].map(
    (name) => {
      const value = one[name];
      if (value !== undefined && typeof value !== 'number') throw badGrammar(`${name} is no number`);
      return value;
    },
  );
  const isOpenBelow = above !== undefined && above >= (minimum ?? -Infinity);
  const isOpenAbove = below !== undefined && below <= (maximum ?? Infinity);
  const least = Math.max(minimum ?? -Infinity, above ?? -Infinity);
  const most = Math.min(maximum ?? Infinity, below ?? Infinity);
  return least === -Infinity && most === Infinity ? null : { least, most, isOpenBelow, isOpenAbove };
}

/** Whether limits of a type exclude each other, so that nothing of it fits. */
export function isCrossed(type: unknown, one: Schema): boolean {
  const isLess = (most: string, least: string): boolean =>
    (countIn(one, most) ?? Infinity) < (countIn(one, least) ?? 0);
  switch (type) {
    case 'integer':
    case 'number': {
      const { least, most, isOpenBelow, isOpenAbove } = boundsOf(one) ?? anyNumber;
      if (type === 'number') return least > most || (least === most && (isOpenBelow || isOpenAbove));
      return (isOpenBelow ? Math.floor(least) + 1 : Math.ceil(least)) > (isOpenAbove ? Math.ceil(most) - 1 : Math.floor(most)); // prettier-ignore
    }
    case 'string':
      return isLess('maxLength', 'minLength');
    case 'array':
      return isLess('maxItems', 'minItems');
    default:
      return false;
  }
}

export const anyNumber: Bounds = { least: -Infinity, most: Infinity, isOpenBelow: false, isOpenAbove: false };

/** By its other keywords. */
export function inferred(one: Schema): string | undefined {
  const has = (...names: string[]): boolean => names.some((name) => name in one);
  if (has('properties', 'required', 'additionalProperties', 'unevaluatedProperties')) return 'object';
  if (has('items', 'prefixItems', 'minItems', 'maxItems', 'additionalItems', 'unevaluatedItems')) return 'array';
  if (has('minLength', 'maxLength', 'pattern')) return 'string';
  if (has('minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum')) return 'number';
  return undefined;
}

/** Undefined: any. */
export const typesOf = ({ type }: Schema): readonly unknown[] | undefined =>
  type === undefined ? undefined : [type].flat();

/** A schema that is made of others counts once for each so many characters. */
const charactersOfOne = 1_000;
export const costOf = (text: string): number => Math.floor(text.length / charactersOfOne);

export function without(one: Schema, names: readonly string[]): Schema {
  return Object.fromEntries(Object.entries(one).filter(([name]) => !names.includes(name)));
}

/**
 * A schema's keywords as of today: null is what clients write for one that is missing, and a bound that is excluded by a flag beside it
 * (draft 4) is its own keyword.
 */
export function asKeywords(value: unknown): Schema {
  const given = asSchema(value);
  const isOld = excluded.some(([, name]) => typeof given[name] === 'boolean');
  const hasNull = Object.entries(given).some(([name, each]) => each === null && name !== 'const');
  if (!isOld && !hasNull) return given;
  const one = Object.fromEntries(Object.entries(given).filter(([name, each]) => each !== null || name === 'const'));
  for (const [bound, name] of excluded) {
    if (typeof one[name] !== 'boolean') continue;
    if (one[name] && one[bound] !== undefined) {
      one[name] = one[bound];
      delete one[bound];
    } else delete one[name];
  }
  return one;
}

const excluded = [
  ['minimum', 'exclusiveMinimum'],
  ['maximum', 'exclusiveMaximum'],
] as const;

export function asSchema(value: unknown): Schema {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Schema;
  throw badGrammar(value === false ? 'nothing fits the schema false' : 'a schema in it is no object');
}

export function recordIn(one: Schema, name: string): Schema | undefined {
  return one[name] === undefined ? undefined : asSchema(one[name]);
}

/** Undefined: it is missing, as which clients also write null. */
export function listIn(one: Schema, name: string): readonly unknown[] | undefined {
  const value = one[name] ?? undefined;
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw badGrammar(`${name} is no list`);
  return value as unknown[];
}

export function countIn(one: Schema, name: string): number | undefined {
  const value = one[name];
  if (value === undefined) return undefined;
  if (!Number.isInteger(value) || (value as number) < 0) throw badGrammar(`${name} is no count`);
  return value as number;
}

export function decode(key: string): string {
  try {
    return decodeURIComponent(key);
  } catch {
    return key;
  }
}
