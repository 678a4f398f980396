/**
 * The rows of a batch: which row a text continues, what is remembered, and what is given up for room. Knows ids and the cache, no requests.
 */
import { commonLength } from '../../data/common-length.ts';
import { capacityFor } from '../../runtime/staged-model.ts';
import type { KvCache } from './kv-cache.ts';
import type { Check } from '../leaving/probation.ts';

/** A row of the batch: the ids in its cache (prompt and decided tokens), the scope that may share them, and when it was last used. */
export interface Row {
  ids: number[];
  /** Most tokens that it may get: those granted to its text, and once that is over, those it has. */
  length: number;
  /** Where the full model was compared with exits: see probation.ts. */
  checks: Check[];
  /** From this position on exits were compared with the full model; Infinity if a text that was not on probation read the row's end. */
  checkedFrom: number;
  scope: string;
  used: number;
  isFree: boolean;
}

/** What a text needs of what is remembered of its prompt. */
export interface RowNeeds {
  /** So many tokens at the end of the prompt are read again, unless exits were compared with the full model in their second half at least. */
  readonly checked?: number;
  /** From this position on the final exit can be read; default: at the last token of the prompt. */
  readonly readFrom?: number;
  /** Fewest tokens that are read, unless all of the prompt is remembered. */
  readonly leastRead?: number;
}

export interface Rows {
  /** The row's number in the cache, until rows are taken. */
  at(row: Row): number;
  /**
   * A row for a text of at most `length` tokens that begins with a prompt: its cache already has as much of the prompt as the best row of
   * the same scope.
   */
  take(prompt: readonly number[], scope: string, length: number, needs?: RowNeeds): Row;
  /** Tokens of a prompt that a row of the same scope could give it. */
  known(prompt: readonly number[], scope: string): number;
  /** A row that no text needs any more remembers what its cache has. */
  remember(row: Row): void;
  /** A row that no text needs any more is empty. */
  clear(row: Row): void;
}

/** Reading a shorter beginning takes less time than copying it. */
const worthCopying = 16;

/** `most`: number of rows; `positions`: room of all rows together beyond which rows that are only remembered are given up. */
export function openRows(cache: KvCache, most: number, positions: number): Rows {
  let rows: readonly Row[] = Array.from({ length: cache.rows }, emptyRow);
  /** How many of the texts that come at once have no row yet. */
  let expected = cache.rows;
  let uses = 0;

  const at = (row: Row): number => rows.indexOf(row);
  const free = (): Row[] => rows.filter(({ isFree }) => isFree);

  /** Keeps these rows, and adds empty ones up to a number. */
  const arrange = (kept: readonly Row[], count = kept.length): void => {
    const added = Array.from({ length: count - kept.length }, emptyRow);
    cache.arrange([...kept.map(at), ...added.map(() => null)]);
    rows = [...kept, ...added];
  };

  /** See `Rows.remember`. */
  const remember = (row: Row): void => {
    row.ids.length = Math.min(row.ids.length, cache.position(at(row)));
    row.length = row.ids.length;
    cache.repair(at(row));
    row.used = ++uses;
    row.isFree = true;
  };

  /** See `Rows.clear`. */
  const clear = (row: Row): void => {
    cache.truncate(at(row), 0);
    Object.assign(row, emptyRow());
  };

  /** A free row other than the one that is copied from: an empty one while there is room, else the least recently used. */
  const otherRow = (source: Row | null, length: number): Row => {
    const others = free()
      .filter((row) => row !== source)
      .sort((a, b) => a.used - b.used);
    const empty = (): Row | undefined => rows.find(({ isFree, ids }) => isFree && ids.length === 0);
    const oldest = empty() ?? others[0] ?? (source?.isFree ? source : null);
    if (oldest?.ids.length === 0) return oldest;
    // Their number doubles, since each arrangement moves all of them. A text beside those in use has a row in any case.
    const room = Math.floor(positions / positionsOf([...rows, { length }]));
    const count = Math.min(most, Math.max(oldest ? 0 : rows.length + 1, Math.min(room, 2 * rows.length)));
    if (oldest && count <= rows.length) return oldest;
    arrange(rows, count);
    return empty()!;
  };

  /** Tokens of a prompt that each row could give it. */
  const shareable = (prompt: readonly number[], scope: string, needs: RowNeeds): number[] => {
    const { checked = 0, leastRead = 0 } = needs;
    return rows.map((row) => {
      if (row.scope !== scope) return 0;
      // Of a text that is still being read, what all layers have run.
      const common = Math.min(commonLength(row.ids, prompt), row.isFree ? Infinity : cache.finished(at(row)));
      const read = Math.max(
        row.checkedFrom <= prompt.length - checked / 2 ? 0 : checked,
        common < prompt.length ? leastRead : 0,
      );
      return Math.min(common, Math.max(0, prompt.length - read));
    });
  };

  /** See `Rows.known`. */
  const known: Rows['known'] = (prompt, scope) => Math.max(...shareable(prompt, scope, {}));

  /** See `Rows.take`. */
  const take: Rows['take'] = (prompt, scope, length, needs = {}) => {
    const { readFrom = Math.max(0, prompt.length - 1) } = needs;
    const common = shareable(prompt, scope, needs);
    const shared = Math.max(...common);
    const source = rows[common.indexOf(shared)]!;
    // A row is cut only if the prompt shares at least half of it: otherwise most of another conversation would be lost.
    const goesOn = source.isFree && 2 * shared >= source.ids.length;
    const isCopied = !goesOn && shared >= worthCopying;
    const row = goesOn ? source : otherRow(isCopied ? source : null, length);
    if (row === source) cache.truncate(at(row), shared);
    else {
      cache.truncate(at(row), 0);
      if (isCopied) cache.copy(at(source), at(row), shared);
    }
    // A copy is empty if the row's rotations differ from the text's.
    const kept = goesOn || isCopied ? Math.min(shared, cache.position(at(row))) : 0;
    // What the text behind the prompt shows it will show again.
    const isKnown = ({ position }: Check): boolean => position <= kept && position < prompt.length;
    row.checks = source.checks.filter(isKnown);
    row.checkedFrom = source.checkedFrom < kept ? source.checkedFrom : Infinity;
    row.isFree = false;
    row.length = length;
    row.scope = scope;
    // Entries that memories filled are not taken over, even if their text is still being written.
    cache.repair(at(row));
    // Tokens that are read there and have no state at the final exit run again.
    if (cache.position(at(row)) > readFrom && !cache.isReadable(at(row), readFrom)) cache.truncate(at(row), readFrom);
    expected = Math.max(0, expected - 1);
    forget();
    return row;
  };

  /** Gives up the least recently used free rows while all rows together are too long, but none that a text will need at once. */
  const forget = (): void => {
    const spare = free().sort((a, b) => a.used - b.used);
    let kept = rows;
    for (const oldest of spare.slice(0, spare.length - expected))
      if (kept.length * positionsOf(kept) > positions) kept = kept.filter((row) => row !== oldest);
    if (kept.length < rows.length) arrange(kept);
  };

  return { at, take, known, remember, clear };
}

/** Positions of each of some rows: all have room for the longest. */
const positionsOf = (rows: readonly Pick<Row, 'length'>[]): number =>
  capacityFor(Math.max(...rows.map(({ length }) => length)));

const emptyRow = (): Row => ({
  ids: [],
  length: 0,
  checks: [],
  checkedFrom: Infinity,
  scope: '',
  used: 0,
  isFree: true,
});
