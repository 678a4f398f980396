import { expect, test } from 'vitest';
import { advance, arrange, newProgress, truncate, waiting } from '../../../backend/runtime/progress.ts';
import type { StageSpec } from '../../../backend/runtime/staged-model.ts';

const cut = { layer: 1, at: 'end' } as const;
const stage = (parent: number | null): StageSpec => ({ parent, from: cut, to: cut, width: 8, slots: [] });
/** A trunk of two stages, and a branch behind the first. */
const stages = [stage(null), stage(0), stage(0)];

test('what a stage and its branch have run never exceeds what the stage before has', () => {
  const progress = newProgress(stages, 2);
  progress.entered = [5, 3];
  advance(progress, stages, 0, [4, 3]);
  advance(progress, stages, 2, [1, 3]);
  expect([0, 1, 2].map((s) => waiting(progress, stages, s, 0))).toEqual([1, 4, 3]);
  expect([0, 1, 2].map((s) => waiting(progress, stages, s, 1))).toEqual([0, 3, 0]);
  expect(() => advance(progress, stages, 1, [5, 0])).toThrow(RangeError);
});

test('tokens that are taken back are gone everywhere, and rows move together', () => {
  const progress = newProgress(stages, 2);
  progress.entered = [5, 3];
  advance(progress, stages, 0, [5, 3]);
  advance(progress, stages, 1, [1, 3]);
  truncate(progress, 0, 2);
  expect(progress).toEqual({
    entered: [2, 3],
    filled: [
      [2, 3],
      [1, 3],
      [0, 0],
    ],
    unheard: [0, 0],
  });
  arrange(progress, [1]);
  expect(progress).toEqual({ entered: [3], filled: [[3], [3], [0]], unheard: [0] });
  arrange(progress, [null, 0]);
  expect(progress).toEqual({
    entered: [0, 3],
    filled: [
      [0, 3],
      [0, 3],
      [0, 0],
    ],
    unheard: [0, 0],
  });
});
