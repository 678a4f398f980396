/**
 * The shape of a message from another process, declared once: its type follows, and a value of another shape is refused with a sentence
 * that names the field. Knows no message.
 */
import { userError, type UserError } from './errors.ts';
import { isRecord, shownValue } from './foreign.ts';

/** Path of a value within a message. */
export interface Place {
  readonly within: Place | null;
  readonly name: string | number;
}

export interface Shape<T> {
  /** The value as it is, or a `UserError` (`bad-argument`) that names its place. Unknown fields of records are left out. */
  readonly read: (value: unknown, place: Place) => T;
}

/** The type that a shape declares. */
export type TypeOf<S> = S extends Shape<infer T> ? T : never;

/** Reads a whole message; `what` names it, such as `earlyExit/run/read`. */
export const readMessage = <T>(what: string, shape: Shape<T>, value: unknown): T =>
  shape.read(value, { within: null, name: what });

/** A value that is accepted if `is` is true for it; `expected` names it in messages. */
export const simple = <T>(expected: string, is: (value: unknown) => value is T): Shape<T> => ({
  read: (value, place) => {
    if (!is(value)) throw wrong(place, expected, value);
    return value;
  },
});

export const text = simple('a text', (value) => typeof value === 'string');
export const flag = simple('true or false', (value) => typeof value === 'boolean');
export const number = simple(
  'a number',
  (value): value is number => typeof value === 'number' && Number.isFinite(value),
);
/** As JSON has it, which has no numbers that are not finite: null is one of them. */
export const figure: Shape<number> = { read: (value, place) => (value === null ? NaN : number.read(value, place)) };
/** A whole number from 0. */
export const count = simple(
  'a whole number of at least 0',
  (value): value is number => Number.isSafeInteger(value) && (value as number) >= 0,
);
/** A record of anything, which is read elsewhere. */
export const anyRecord = simple('an object', isRecord);

/** No parameters: any record is accepted, and its fields are ignored. */
export const nothing: Shape<Record<string, never>> = {
  read: (value, place) => {
    anyRecord.read(value, place);
    return {};
  },
};

export const oneOf = <T extends string>(...names: readonly T[]): Shape<T> =>
  simple(`one of ${names.join(', ')}`, (value): value is T => names.some((name) => name === value));

export const nullable = <T>(shape: Shape<T>): Shape<T | null> => ({
  read: (value, place) => (value === null ? null : shape.read(value, place)),
});

export const list = <T>(shape: Shape<T>): Shape<T[]> => ({
  read: (value, place) => {
    if (!Array.isArray(value)) throw wrong(place, 'a list', value);
    return value.map((item, i) => shape.read(item, { within: place, name: i }));
  },
});

/** A record with any names; all values have one shape. */
export const table = <T>(shape: Shape<T>): Shape<Record<string, T>> => ({
  read: (value, place) => {
    const fields = Object.entries(anyRecord.read(value, place));
    return Object.fromEntries(fields.map(([name, field]) => [name, shape.read(field, { within: place, name })]));
  },
});

type Shapes<T> = { readonly [Key in keyof T]-?: Shape<Exclude<T[Key], undefined>> };

/** A record of named fields; those of `may` can be absent. */
export const record = <Must extends object, May extends object = object>(
  must: Shapes<Must>,
  may?: Shapes<May>,
): Shape<Must & Partial<May>> => {
  const fields = Object.entries<Shape<unknown>>({ ...must, ...may });
  return {
    read: (value, place) => {
      if (!isRecord(value)) throw wrong(place, 'an object', value);
      const known: Record<string, unknown> = {};
      for (const [name, shape] of fields) {
        const field = Object.hasOwn(value, name) ? value[name] : undefined;
        if (field !== undefined || Object.hasOwn(must, name)) known[name] = shape.read(field, { within: place, name });
      }
      return known as Must & Partial<May>;
    },
  };
};

/** A record in which every field can be absent. */
export const partial = <May extends object>(may: Shapes<May>): Shape<Partial<May>> => record<object, May>({}, may);

const wrong = (place: Place, expected: string, value: unknown): UserError => {
  const got = value === undefined ? 'is missing' : `is ${shownValue(value)}`;
  return userError('bad-argument', `${nameOf(place)} must be ${expected}, but ${got}.`);
};

/** `earlyExit/trace/attach: trace.tokens[3].layer`. */
function nameOf({ within, name }: Place): string {
  if (within === null) return `${name}`;
  const outer = nameOf(within);
  if (typeof name === 'number') return `${outer}[${name}]`;
  return within.within === null ? `${outer}: ${name}` : `${outer}.${name}`;
}
