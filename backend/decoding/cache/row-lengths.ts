/**
 * Changes of rows in models that rotate all tokens of a text differently once it is longer than some length (LongRoPE): a text that crosses
 * that length is computed anew.
 */
import { longerThan, type ModelSpec } from '../../model/spec.ts';
import type { Slots } from '../../runtime/staged-model.ts';

export interface RowLengths {
  /** A row becomes its first `length` tokens and `fresh` ones. */
  setLength(row: number, length: number, fresh: ArrayLike<number>): void;
  /** A row becomes the first `positions` of another; an empty one if those are rotated differently. */
  copy(from: number, to: number, positions: number): void;
}

export function rowLengths(spec: ModelSpec, slots: Slots): RowLengths {
  const beyond = longerThan(spec);
  /** Whether texts of two lengths are rotated differently. */
  const isAcross = (a: number, b: number): boolean => beyond !== null && a > beyond !== b > beyond;

  return {
    setLength(row, length, fresh) {
      const isAnew = isAcross(slots.entered(row), length + fresh.length);
      slots.truncate(row, length);
      const before = isAnew ? [...slots.progress.texts[row]!] : [];
      if (isAnew) slots.truncate(row, 0);
      for (const part of [...before, fresh]) if (part.length) slots.enter(row, part);
    },
    copy(from, to, positions) {
      if (isAcross(slots.entered(from), positions)) slots.truncate(to, 0);
      else slots.copy(from, to, positions);
    },
  };
}
