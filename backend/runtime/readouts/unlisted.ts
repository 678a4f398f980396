/**
 * The tokens of a text that an exit's shortlist lacks. A text repeats its names, so the exit reads them beside its list, by the model's own
 * rows. Which ones it reads at a position depends only on the tokens up to there. Counters only, no tensors.
 */

/** Tokens that are read beside a list at most: the first of a text. */
export const mostUnlisted = 512;
/** One graph serves as many of them as this, or twice as many … */
const fewest = 64;

/** In the order of the text. */
export interface Unlisted {
  readonly ids: number[];
  /** The position at which each occurs first. */
  readonly from: number[];
}

/** Of each exit and row; null for an exit that reads none. */
export type UnlistedOfRows = (Unlisted[] | null)[];

/** The shortlist of each exit that reads unlisted tokens, else null. */
export type Shortlists = readonly (ReadonlySet<number> | null)[];

const none = (): Unlisted => ({ ids: [], from: [] });

export const newUnlisted = (lists: Shortlists, rows: number): UnlistedOfRows =>
  lists.map((list) => list && Array.from({ length: rows }, none));

/** New tokens of a row, from position `start` on. */
export function enterUnlisted(
  unlisted: UnlistedOfRows,
  lists: Shortlists,
  row: number,
  start: number,
  tokens: ArrayLike<number>,
): void {
  for (const [k, list] of lists.entries()) {
    if (list === null) continue;
    const { ids, from } = unlisted[k]![row]!;
    for (let i = 0; i < tokens.length && ids.length < mostUnlisted; i++) {
      const id = tokens[i]!;
      if (list.has(id) || ids.includes(id)) continue;
      ids.push(id);
      from.push(start + i);
    }
  }
}

/** Forgets what occurs first at `position` or later. */
export function truncateUnlisted(unlisted: UnlistedOfRows, row: number, position: number): void {
  for (const rows of unlisted) {
    if (rows === null) continue;
    const { ids, from } = rows[row]!;
    const kept = countUntil(rows[row]!, position - 1);
    ids.length = from.length = kept;
  }
}

/** Row `to` becomes the first `positions` of row `from`. */
export function copyUnlisted(unlisted: UnlistedOfRows, from: number, to: number, positions: number): void {
  for (const rows of unlisted) {
    if (rows === null) continue;
    const kept = countUntil(rows[from]!, positions - 1);
    rows[to] = { ids: rows[from]!.ids.slice(0, kept), from: rows[from]!.from.slice(0, kept) };
  }
}

/** Each row is an earlier one, by its number, or an empty one (null). */
export const arrangeUnlisted = (unlisted: UnlistedOfRows, into: readonly (number | null)[]): UnlistedOfRows =>
  unlisted.map((rows) => rows && into.map((row) => (row === null ? none() : rows[row]!)));

/** How many of a row's occur up to a position. */
export function countUntil({ from }: Unlisted, position: number): number {
  let count = from.length;
  while (count > 0 && from[count - 1]! > position) count--;
  return count;
}

/** For how many a graph is built that reads `count`. */
export function sizeFor(count: number): number {
  let size = fewest;
  while (size < count) size *= 2;
  return size;
}
