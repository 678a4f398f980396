/** Reads fields of a request's body, each with its kind. Knows no request. */
import { userError, type UserError } from '../../../protocol/errors.ts';
import { isRecord, shownValue } from '../../../protocol/foreign.ts';

export type Body = Readonly<Record<string, unknown>>;

export const badField = (name: string, expected: string, value: unknown): UserError =>
  userError('bad-argument', `${name} must be ${expected}, not ${shownValue(value)}.`);

/** @throws UserError if the body is no object. */
export function bodyOf(value: unknown): Body {
  if (!isRecord(value)) throw userError('bad-argument', 'The body must be a JSON object.');
  return value;
}

/** A field that may be left out or null. */
function optional<T>(expected: string, read: (value: unknown) => T | undefined) {
  return (body: Body, name: string): T | undefined => {
    const value = body[name];
    if (value === undefined || value === null) return undefined;
    const known = read(value);
    if (known === undefined) throw badField(name, expected, value);
    return known;
  };
}

export const textField = optional('a text', (value) => (typeof value === 'string' ? value : undefined));
export const flagField = optional('true or false', (value) => (typeof value === 'boolean' ? value : undefined));
export const recordField = optional('an object', (value) => (isRecord(value) ? value : undefined));
export const listField = optional('a list', (value) => (Array.isArray(value) ? (value as unknown[]) : undefined));
/** A text, or some. */
export const textsField = optional('a text or a list of texts', (value) =>
  typeof value === 'string' ? [value] : isTexts(value) ? value : undefined,
);

export function countField(body: Body, name: string, least: number, most: number): number | undefined {
  const read = optional(`a whole number from ${least} to ${most}`, (value) =>
    Number.isInteger(value) && (value as number) >= least && (value as number) <= most ? (value as number) : undefined,
  );
  return read(body, name);
}

export function numberField(body: Body, name: string, least: number, most: number): number | undefined {
  const read = optional(`a number from ${least} to ${most}`, (value) =>
    typeof value === 'number' && value >= least && value <= most ? value : undefined,
  );
  return read(body, name);
}

export const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((each) => typeof each === 'string');
export const isIds = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((each) => Number.isSafeInteger(each) && (each as number) >= 0);

export const isZero = (value: unknown): boolean => value === 0;
export const isOne = (value: unknown): boolean => value === 1;
/** A list or an object with nothing in it. */
export const isEmpty = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0;

/** Refuses fields that would change the text but are not supported, unless their value has no effect. */
export function refuseFields(body: Body, names: Readonly<Record<string, (value: unknown) => boolean>>): void {
  for (const [name, isHarmless] of Object.entries(names)) {
    const value = body[name];
    if (value === undefined || value === null || isHarmless(value)) continue;
    throw userError('unsupported', `${name} is not supported.`, 'Leave it out.');
  }
}

/** A body less some of its fields. */
export const without = (body: Body, names: readonly string[]): Body =>
  Object.fromEntries(Object.entries(body).filter(([name]) => !names.includes(name)));
