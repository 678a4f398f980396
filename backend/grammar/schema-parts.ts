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
      // In old schemas they are flags of the others.
      if (value !== undefined && typeof value !== 'number' && typeof value !== 'boolean')
        throw badGrammar(`${name} is no number`);
      return value;
    },
  );
  const isOpenBelow = above === true || (typeof above === 'number' && above >= Number(minimum ?? -Infinity));
  const isOpenAbove = below === true || (typeof below === 'number' && below <= Number(maximum ?? Infinity));
  const least = Math.max(Number(minimum ?? -Infinity), typeof above === 'number' ? above : -Infinity);
  const most = Math.min(Number(maximum ?? Infinity), typeof below === 'number' ? below : Infinity);
  return least === -Infinity && most === Infinity ? null : { least, most, isOpenBelow, isOpenAbove };
}

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

export function without(one: Schema, names: readonly string[]): Schema {
  return Object.fromEntries(Object.entries(one).filter(([name]) => !names.includes(name)));
}

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
