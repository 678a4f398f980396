/** Values of unknown origin in messages: short, on one line, and never so deep that showing them fails. */

const longest = 80;

/** A text, number or the like as JSON, cut where it is long; lists and objects by their kind. */
export function shownValue(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'string' && value.length > longest) return `${JSON.stringify(value.slice(0, longest))}…`;
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : (JSON.stringify(value) ?? 'nothing');
}
