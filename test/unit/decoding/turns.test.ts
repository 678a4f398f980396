/** Who is next, in the order of a plain loop over names. */
import { expect, test } from 'vitest';
import { newTurns } from '../../../backend/decoding/turns.ts';

interface Item {
  readonly path: readonly string[];
  readonly number: number;
}

/** All that wait, in the order in which they are taken. */
function drain(items: readonly Item[]): string {
  const turns = newTurns<Item>(({ path }) => path);
  for (const item of items) turns.add(item);
  expect(turns.size).toBe(items.length);
  const taken: string[] = [];
  for (let item = turns.next(); item !== undefined; item = turns.next()) {
    taken.push(item.path.join('') + String(item.number));
    turns.remove(item);
  }
  expect(turns.size).toBe(0);
  return taken.join(' ');
}

const items = (path: string, count: number): Item[] =>
  Array.from({ length: count }, (_, number) => ({ path: [...path], number }));

test('names go round, those within a name too, and what has one path keeps its order', () => {
  expect(drain(items('', 3))).toBe('0 1 2');
  expect(drain([...items('a', 4), ...items('b', 2), ...items('c', 1)])).toBe('a0 b0 c0 a1 b1 a2 a3');
  expect(drain([...items('ax', 3), ...items('ay', 2), ...items('bz', 2)])).toBe('ax0 bz0 ay0 bz1 ax1 ay1 ax2');
});

test('one that comes late waits for one of each name, however many there are', () => {
  const turns = newTurns<Item>(({ path }) => path);
  for (const item of items('a', 1000)) turns.add(item);
  for (let i = 0; i < 5; i++) turns.remove(turns.next()!);
  const [late] = items('b', 1);
  turns.add(late!);
  const next = [turns.next(), turns.next()];
  expect(next).toContain(late);
  turns.remove(late!);
  turns.remove(late!);
  expect(turns.size).toBe(995);
  expect(turns.next()!.path).toEqual(['a']);
});
