/** Values of unknown origin: whether one is a record, and how messages show it: short, on one line, and never so deep that showing it fails. */
import { jsonLine } from './shown.ts';

const longest = 80;

/** A text, number or the like as JSON that can be shown, cut if it is long; of lists and objects only their kind. */
export function shownValue(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'string' && value.length > longest) return `${jsonLine(value.slice(0, longest))}…`;
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return JSON.stringify(value) === undefined ? 'nothing' : jsonLine(value);
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
