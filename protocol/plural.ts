/** A count with its noun: `1 token`, `12,345 tokens`. The plural is given if it needs more than an s. */
export const plural = (value: number, one: string, many = `${one}s`): string =>
  `${Math.round(value).toLocaleString('en-GB')} ${Math.round(value) === 1 ? one : many}`;

/** One of a unit that is named in the plural: `batches` → `batch`, `tokens` → `token`. */
export const singular = (unit: string): string => unit.replace(/(?<=ch|ss)es$|s$/, '');
