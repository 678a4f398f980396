/** Rows of a batch, on a cache that only counts. */
import { expect, test } from 'vitest';
import type { KvCache } from '../../../../backend/decoding/cache/kv-cache.ts';
import { openRows, type Rows } from '../../../../backend/decoding/cache/rows.ts';
import { capacityFor, keyStep } from '../../../../backend/runtime/staged-model.ts';

/** A cache of one row at first. `arranged`: the number of rows after each arrangement; `held`: positions for which all rows have room. */
function countingCache(count = 1): { cache: KvCache; arranged: number[]; held: () => number } {
  const arranged: number[] = [];
  let positions = Array<number>(count).fill(0);
  const cache = {
    rows: count,
    position: (row: number) => positions[row]!,
    finished: (row: number) => positions[row]!,
    isReadable: () => true,
    truncate: (row: number, position: number) => void (positions[row] = Math.min(positions[row]!, position)),
    copy: (_: number, to: number, count: number) => void (positions[to] = count),
    repair: () => undefined,
    arrange(rows: readonly (number | null)[]) {
      positions = rows.map((row) => (row === null ? 0 : positions[row]!));
      arranged.push(rows.length);
    },
    enter: (row: number, ids: ArrayLike<number>) => void (positions[row]! += ids.length),
  };
  const held = (): number => positions.length * capacityFor(Math.max(...positions));
  return { cache: cache as unknown as KvCache, arranged, held };
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

test('a long text counts for all rows, as long as it is remembered and by what was granted to it', () => {
  const room = 16 * keyStep;
  const remembered = countingCache();
  const rows = openRows(remembered.cache, 64, room);
  write(rows, remembered.cache, 0, room - 1);
  for (let text = 1; text <= 40; text++) {
    write(rows, remembered.cache, text);
    expect(remembered.held()).toBeLessThanOrEqual(room);
  }
  // Once its row is another's, there is room for short ones.
  expect(remembered.arranged).toEqual([2, 4, 8, 16]);

  const begun = countingCache();
  const beside = openRows(begun.cache, 64, room);
  const long = beside.take([0], '', room / 4);
  for (let text = 1; text <= 40; text++) write(beside, begun.cache, text);
  begun.cache.enter(beside.at(long), Array<number>(room / 4));
  expect(begun.held()).toBe(room);
});

test('rows of texts that come at once stay until each has one, then those that are free make room', () => {
  const { cache, arranged } = countingCache(4);
  const rows = openRows(cache, 64, 0);
  const taken = [1, 2, 3, 4].map((text) => rows.take([text], '', 20));
  expect(arranged).toEqual([]);
  for (const row of taken) rows.remember(row);
  write(rows, cache, 5);
  expect(arranged).toEqual([1]);
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

test('of a prompt whose end must be checked, a row gives what is before it, or all if most of the end was checked', () => {
  const { cache } = countingCache();
  const rows = openRows(cache, 64, Infinity);
  write(rows, cache, 1, 100);
  const prompt = Array.from({ length: 100 }, () => 1);
  const remembered = (checkedFrom: number | null, ids: readonly number[] = prompt): number => {
    const row = rows.take(ids, '', 100, { checked: 40 });
    const known = cache.position(rows.at(row));
    cache.enter(rows.at(row), ids.slice(known));
    row.ids = [...ids];
    if (checkedFrom !== null) row.checkedFrom = checkedFrom;
    rows.remember(row);
    return known;
  };
  expect(remembered(60)).toBe(60);
  expect(remembered(null)).toBe(100);
  // A shorter prompt lacks some checks at first, and then too many.
  expect(remembered(null, prompt.slice(0, 90))).toBe(90);
  expect(remembered(Infinity, prompt.slice(0, 70))).toBe(30);
});

test('of the checks of a row, those within the prompt are known to the next text', () => {
  const { cache } = countingCache();
  const rows = openRows(cache, 64, Infinity);
  const prompt = [1, 1, 1, 1];
  const known = (ids: readonly number[]): number[] => {
    const row = rows.take(ids, '', 10);
    const positions = row.checks.map(({ position }) => position);
    cache.enter(rows.at(row), [...ids, 2, 2].slice(cache.position(rows.at(row))));
    row.ids = [...ids, 2, 2];
    row.checks = [2, 3, 4, 5].map((position) => ({
      ...{ exit: '2:norm', position, confidence: 0.9 },
      ...{ isSure: true, agreesClearly: false, isRight: true },
    }));
    rows.remember(row);
    return positions;
  };
  expect(known(prompt)).toEqual([]);
  expect(known(prompt)).toEqual([2, 3]);
  expect(known([...prompt, 2, 2, 3])).toEqual([2, 3, 4, 5]);
});

test('of a prompt that must have the bits of one read as a whole, a row gives all of it or leaves enough to read', () => {
  const { cache } = countingCache();
  const rows = openRows(cache, 64, Infinity);
  const remembered = (ids: readonly number[]): number => {
    const row = rows.take(ids, '', 200, { leastRead: 64 });
    const known = cache.position(rows.at(row));
    cache.enter(rows.at(row), ids.slice(known));
    row.ids = [...ids];
    rows.remember(row);
    return known;
  };
  const prompt = (same: number, other: number): number[] => [
    ...Array<number>(same).fill(1),
    ...Array<number>(other).fill(2),
  ];
  expect(remembered(prompt(100, 0))).toBe(0);
  expect(remembered(prompt(100, 0))).toBe(100);
  expect(remembered(prompt(90, 20))).toBe(46);
  expect(remembered(prompt(90, 80))).toBe(106);
  expect(remembered(prompt(50, 10))).toBe(0);
});
