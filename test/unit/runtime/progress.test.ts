import { expect, test } from 'vitest';
import {
  advance,
  arrange,
  enter,
  fill,
  isFilled,
  isReadable,
  newProgress,
  repair,
  skip,
  truncate,
  waiting,
  withEntries,
} from '../../../backend/runtime/progress.ts';
import type { StageSpec } from '../../../backend/runtime/staged-model.ts';

const cut = { layer: 1, at: 'end' } as const;
const stage = (parent: number | null): StageSpec => ({ parent, from: cut, to: cut, width: 8, slots: [] });
/** A trunk of two stages, and a branch behind the first. */
const stages = [stage(null), stage(0), stage(0)];

const nothingRemembered = (rows: number) => ({
  remembered: Array.from({ length: rows }, () => new Map()),
  skipped: Array.from({ length: rows }, () => 0),
  inexactFrom: Array.from({ length: rows }, () => null),
});

test('what a stage and its branch have run never exceeds what the stage before has', () => {
  const progress = newProgress(stages, 2);
  enter(progress, 0, [1, 2, 3, 4, 5]);
  enter(progress, 1, [6, 7, 8]);
  advance(progress, stages, 0, [4, 3]);
  advance(progress, stages, 2, [1, 3]);
  expect([0, 1, 2].map((s) => waiting(progress, stages, s, 0))).toEqual([1, 4, 3]);
  expect([0, 1, 2].map((s) => waiting(progress, stages, s, 1))).toEqual([0, 3, 0]);
  expect(() => advance(progress, stages, 1, [5, 0])).toThrow(RangeError);
});

test('tokens that are taken back are gone everywhere, and rows move together', () => {
  const progress = newProgress(stages, 2);
  enter(progress, 0, [1]);
  enter(progress, 0, [2, 3, 4]);
  enter(progress, 0, [5]);
  enter(progress, 1, [6, 7, 8]);
  advance(progress, stages, 0, [5, 3]);
  advance(progress, stages, 1, [1, 3]);
  truncate(progress, 0, 2);
  expect(progress).toEqual({
    entered: [2, 3],
    texts: [[[1], [2]], [[6, 7, 8]]],
    ran: [
      [2, 3],
      [1, 3],
      [0, 0],
    ],
    unreadable: [0, 0],
    ...nothingRemembered(2),
  });
  arrange(progress, [1]);
  expect(progress).toEqual({
    entered: [3],
    texts: [[[6, 7, 8]]],
    ran: [[3], [3], [0]],
    unreadable: [0],
    ...nothingRemembered(1),
  });
  arrange(progress, [null, 0]);
  expect(progress).toEqual({
    entered: [0, 3],
    texts: [[], [[6, 7, 8]]],
    ran: [
      [0, 3],
      [0, 3],
      [0, 0],
    ],
    unreadable: [0, 0],
    ...nothingRemembered(2),
  });
});

test('what a memory filled waits for no stage, until the row is repaired', () => {
  const trunk = [stage(null), stage(0), stage(1)];
  const progress = newProgress(trunk, 1);
  enter(progress, 0, [1, 2, 3, 4, 5, 6]);
  advance(progress, trunk, 0, [6]);
  advance(progress, trunk, 1, [3]);
  advance(progress, trunk, 2, [3]);
  fill(progress, 0, 3, 1);
  fill(progress, 0, 5, 1);
  skip(progress, trunk, 3, 0);
  // 3 is passed everywhere, 4 waits, and 5 behind it.
  expect([1, 2].map((s) => waiting(progress, trunk, s, 0))).toEqual([2, 0]);
  expect(progress.ran).toEqual([[6], [4], [4]]);
  expect(isFilled(progress, 1, 0, 5)).toBe(true);
  expect(isFilled(progress, 0, 0, 5)).toBe(false);
  advance(progress, trunk, 1, [1]);
  skip(progress, trunk, 3, 0);
  expect(progress.ran).toEqual([[6], [6], [4]]);
  advance(progress, trunk, 2, [1]);
  skip(progress, trunk, 3, 0);
  expect(progress.ran).toEqual([[6], [6], [6]]);
  expect(progress).toMatchObject({ unreadable: [0], skipped: [6] });
  expect([5, 6].map((position) => isReadable(progress, 0, position))).toEqual([false, true]);
  repair(progress, trunk, 3, 0);
  expect(progress).toMatchObject({ ran: [[6], [3], [3]], skipped: [0], inexactFrom: [null] });
});

test('a repair leaves a branch of a stage that saw nothing filled as it is', () => {
  const stages = [stage(null), stage(0), stage(1), stage(0), stage(1)];
  const progress = newProgress(stages, 1);
  enter(progress, 0, [1, 2, 3, 4]);
  for (const s of stages.keys()) advance(progress, stages, s, [4]);
  fill(progress, 0, 2, 1);
  repair(progress, stages, 3, 0);
  expect(progress.ran).toEqual([[4], [2], [2], [4], [2]]);
});

test('what a memory has filled counts among the entries of a stage before the stage has run it', () => {
  const trunk = [stage(null), stage(0), stage(1)];
  const progress = newProgress(trunk, 2);
  for (const row of [0, 1]) enter(progress, row, [1, 2, 3, 4, 5]);
  advance(progress, trunk, 0, [5, 5]);
  advance(progress, trunk, 1, [2, 3]);
  fill(progress, 0, 3, 2);
  fill(progress, 0, 4, 1);
  expect([0, 1, 2].map((s) => withEntries(progress, s, 0))).toEqual([5, 5, 5]);
  expect([0, 1, 2].map((s) => withEntries(progress, s, 1))).toEqual([5, 3, 0]);
  truncate(progress, 0, 4);
  expect([0, 1, 2].map((s) => withEntries(progress, s, 0))).toEqual([4, 2, 4]);
});
