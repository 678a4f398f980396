/** Reads fields of the JSON of a checkpoint, with an error for each wrong one. */
import { userError, type UserError } from '../../protocol/errors.ts';

export const bad = (file: string, what: string, cause?: unknown): UserError =>
  userError('bad-checkpoint', `${file} cannot be used: ${what}.`, 'Restore it from a copy, or tune again.', cause);

export function record(file: string, value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad(file, `${what} is not an object`);
  return value as Record<string, unknown>;
}

export const isShare = (value: unknown): value is number => typeof value === 'number' && value >= 0 && value <= 1;

export const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
