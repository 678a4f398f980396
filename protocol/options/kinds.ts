/**
 * Kinds of options: their values, how an unknown value (a flag, a JSON file, a setting) becomes a typed one, and the message if it does
 * not. Knows no option by name.
 */
import { nearest } from '../nearest.ts';

/** VS Code's scope of a setting; null if an option is no setting. */
export type SettingScope = 'window' | 'resource' | 'machine-overridable';

export type OptionType = 'string' | 'integer' | 'number' | 'boolean' | 'enum' | 'list' | 'notation';

export type Read<T> =
  | { readonly ok: true; readonly value: T }
  /** `guess`: a value near to the one that was given. */
  | { readonly ok: false; readonly expected: string; readonly guess?: string | null };

export interface Option<T> {
  readonly type: OptionType;
  /** One sentence. */
  readonly help: string;
  /** The default as a user would write it; null if there is none. */
  readonly default: string | number | boolean | readonly string[] | null;
  readonly scope: SettingScope | null;
  readonly minimum: number | null;
  /** The value lies above `minimum`, not on it. */
  readonly above: boolean;
  readonly maximum: number | null;
  /** Of an enum: each value with what it means. */
  readonly values: Readonly<Record<string, string>> | null;
  /** Placeholder for the value in a help text, such as `FILE`. */
  readonly placeholder: string;
  /** Whether null is a value ("none"). */
  readonly optional: boolean;
  /** Of a list: one flag takes several words, as a shell makes of a glob. */
  readonly variadic: boolean;
  /** True for options that few users need: help shows them only on request, settings and schemas mark them. */
  readonly advanced: boolean;
  read(value: unknown): Read<T>;
}

/** The same entries with the advanced ones last. */
export const usualFirst = <Entry extends readonly [name: string, option: Option<unknown>]>(
  entries: readonly Entry[],
): Entry[] => entries.toSorted(([, a], [, b]) => Number(a.advanced) - Number(b.advanced));

/** The range of an option, as keywords of a JSON schema. */
export const rangeKeywords = ({ minimum, above, maximum }: Option<unknown>): Readonly<Record<string, number>> => ({
  ...(minimum !== null && { [above ? 'exclusiveMinimum' : 'minimum']: minimum }),
  ...(maximum !== null && { maximum }),
});

interface Common {
  readonly help: string;
  readonly scope?: SettingScope | null;
  readonly placeholder?: string;
  readonly advanced?: boolean;
}

interface Range {
  readonly minimum?: number;
  readonly maximum?: number;
  /** The value must lie above `minimum`, not on it. */
  readonly above?: boolean;
}

type Fields = Pick<Option<unknown>, 'type' | 'default' | 'placeholder'> & Partial<Option<unknown>>;

const good = <T>(value: T): Read<T> => ({ ok: true, value });
const bad = <T>(expected: string, guess: string | null = null): Read<T> => ({ ok: false, expected, guess });

function option<T>(common: Common, fields: Fields, read: (value: unknown) => Read<T>): Option<T> {
  return {
    minimum: null,
    above: false,
    maximum: null,
    values: null,
    optional: false,
    variadic: false,
    advanced: common.advanced ?? false,
    ...fields,
    placeholder: common.placeholder ?? fields.placeholder,
    help: common.help,
    scope: common.scope ?? null,
    read,
  };
}

/** The same option, in which null (no value) is allowed and the default. */
function optional<T>(inner: Option<T>): Option<T | null> {
  return {
    ...inner,
    default: null,
    optional: true,
    read: (value) => (value === null ? good(null) : inner.read(value)),
  };
}

function numeric(type: 'integer' | 'number', common: Common & Range & { readonly default: number }): Option<number> {
  const { minimum, maximum, above = false } = common;
  const expected = `${type === 'integer' ? 'a whole number' : 'a number'}${rangeText(minimum, maximum, above)}`;
  const fields: Fields = {
    type,
    default: common.default,
    placeholder: 'N',
    minimum: minimum ?? null,
    above,
    maximum: maximum ?? null,
  };
  return option(common, fields, (value) => {
    if (typeof value !== 'number' || !Number.isFinite(value)) return bad(expected);
    if (type === 'integer' && !Number.isInteger(value)) return bad(expected);
    if (minimum !== undefined && (above ? value <= minimum : value < minimum)) return bad(expected);
    return maximum !== undefined && value > maximum ? bad(expected) : good(value);
  });
}

function rangeText(minimum: number | undefined, maximum: number | undefined, above: boolean): string {
  const low = minimum === undefined ? '' : above ? ` above ${minimum}` : ` of at least ${minimum}`;
  if (maximum === undefined) return low;
  if (minimum === undefined) return ` of at most ${maximum}`;
  return above ? `${low} and at most ${maximum}` : ` from ${minimum} to ${maximum}`;
}

export const integer = (common: Common & Range & { readonly default: number }): Option<number> =>
  numeric('integer', common);

export const number = (common: Common & Range & { readonly default: number }): Option<number> =>
  numeric('number', common);

export const optionalInteger = (common: Common & Range): Option<number | null> =>
  optional(numeric('integer', { ...common, default: 0 }));

export const optionalNumber = (common: Common & Range): Option<number | null> =>
  optional(numeric('number', { ...common, default: 0 }));

export const boolean = (common: Common & { readonly default: boolean }): Option<boolean> =>
  option(common, { type: 'boolean', default: common.default, placeholder: '' }, (value) =>
    typeof value === 'boolean' ? good(value) : bad('true or false'),
  );

export const text = (common: Common & { readonly default: string }): Option<string> =>
  option(common, { type: 'string', default: common.default, placeholder: 'TEXT' }, (value) =>
    typeof value === 'string' && value !== '' ? good(value) : bad('a text that is not empty'),
  );

export const optionalText = (common: Common): Option<string | null> => optional(text({ ...common, default: '' }));

/** Texts, or one; the flag may be repeated. `notEmpty`: none of them may be. */
export const list = (
  common: Common & { readonly default: readonly string[]; readonly variadic?: boolean; readonly notEmpty?: boolean },
): Option<readonly string[]> => {
  const { variadic = false, notEmpty = false } = common;
  const expected = notEmpty ? 'texts that are not empty' : 'a list of texts';
  const isGood = (item: unknown): item is string => typeof item === 'string' && !(notEmpty && item === '');
  return option(common, { type: 'list', default: common.default, placeholder: 'TEXT', variadic }, (value) => {
    const items: readonly unknown[] = Array.isArray(value) ? value : [value];
    return items.every(isGood) ? good(items) : bad(expected);
  });
};

/** One of several names; `values` has the meaning of each, in the order shown. */
export function oneOf<V extends string>(
  common: Common & { readonly values: Readonly<Record<V, string>>; readonly default: NoInfer<V> },
): Option<V> {
  const names = Object.keys(common.values) as V[];
  const fields: Fields = {
    type: 'enum',
    default: common.default,
    placeholder: names.join('|'),
    values: common.values,
  };
  return option(common, fields, (value) => {
    const found = names.find((name) => name === value);
    const guess = typeof value === 'string' ? nearest(value, names) : null;
    return found === undefined ? bad(`one of ${names.join(', ')}`, guess) : good(found);
  });
}

interface Notation<T> extends Common {
  readonly expected: string;
  /** Null if the text cannot be read. */
  readonly parse: (text: string) => T | null;
  /** The valid text nearest to one that cannot be read; null if none is near. */
  readonly guess?: (text: string) => string | null;
}

/** Most characters of a text in a notation: they bound the time that reading it takes. */
const longestNotation = 10_000;

/** A small notation of its own, written as text (or as a bare number). */
export const notation = <T>(common: Notation<T> & { readonly default: string }): Option<T> =>
  option(common, { type: 'notation', default: common.default, placeholder: 'TEXT' }, (value) => {
    const isText = typeof value === 'number' || (typeof value === 'string' && value.length <= longestNotation);
    const parsed = isText ? common.parse(String(value)) : null;
    if (parsed !== null) return good(parsed);
    return bad(common.expected, isText ? (common.guess?.(String(value)) ?? null) : null);
  });

export const optionalNotation = <T>(common: Notation<T>): Option<T | null> =>
  optional(notation({ ...common, default: '' }));
