/** Rows of a batch, on a cache that only counts. */
import { expect, test } from 'vitest';
import type { KvCache } from '../../../backend/decoding/kv-cache.ts';
import { openRows, type Rows } from '../../../backend/decoding/rows.ts';
import { keyStep } from '../../../backend/runtime/staged-model.ts';

/** A cache of one row at first; `arranged`: the number of rows after each arrangement. */
function countingCache(): { cache: KvCache; arranged: number[] } {
  const arranged: number[] = [];
  let positions = [0];
  const cache = {
    rows: 1,
    position: (row: number) => positions[row]!,
    isReadable: () => true,
    truncate: (row: number, position: number) => void (positions[row] = Math.min(positions[row]!, position)),
    repair: () => undefined,
    arrange(rows: readonly (number | null)[]) {
      positions = rows.map((row) => (row === null ? 0 : positions[row]!));
      arranged.push(rows.length);
    },
    enter: (row: number, ids: ArrayLike<number>) => void (positions[row]! += ids.length),
  };
  return { cache: cache as unknown as KvCache, arranged };
}

/** A text of its own, written and over. */
function write(rows: Rows, cache: KvCache, text: number, length = 20): void {
  const ids = Array.from({ length }, () => text);
  const row = rows.take(ids, '', length);
  cache.enter(rows.at(row), ids);
  row.ids = ids;
  rows.remember(row);
}

test('texts that are remembered move all rows a few times, not each time', () => {
  const { cache, arranged } = countingCache();
  const rows = openRows(cache, 64, Infinity);
  for (let text = 0; text < 40; text++) write(rows, cache, text);
  expect(arranged).toEqual([2, 4, 8, 16, 32, 64]);
});

test('rows that are only remembered stay within their room', () => {
  const { cache, arranged } = countingCache();
  const rows = openRows(cache, 64, 6 * keyStep);
  for (let text = 0; text < 40; text++) write(rows, cache, text);
  expect(arranged).toEqual([2, 4, 6]);
});

test('with little room a text takes the oldest row, and texts in use have rows all the same', () => {
  const { cache } = countingCache();
  const rows = openRows(cache, 64, keyStep);
  write(rows, cache, 1);
  const row = rows.take([2, 2], '', 2);
  expect(rows.at(row)).toBe(0);
  const beside = rows.take([3, 3], '', 2);
  expect(rows.at(beside)).not.toBe(rows.at(row));
});
