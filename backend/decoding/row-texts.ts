/**
 * The tokens of each row, for models that rotate all tokens of a text differently once it is longer than some length (LongRoPE): a text
 * that crosses that length is computed anew. Other models keep none here.
 */
import { longerThan, type ModelSpec } from '../model/spec.ts';
import type { Slots } from '../runtime/staged-model.ts';

export interface RowTexts {
  /** A row becomes its first `length` tokens and `fresh` ones. */
  setLength(row: number, length: number, fresh: ArrayLike<number>): void;
  /** A row becomes the first `positions` of another; an empty one if those are rotated differently. */
  copy(from: number, to: number, positions: number): void;
  /** The rows become these of before, in this order; null: an empty one. */
  arrange(rows: readonly (number | null)[]): void;
}

/** `batch`: rows of the slots. */
export function openRowTexts(spec: ModelSpec, slots: Slots, batch: number): RowTexts {
  const beyond = longerThan(spec);
  /** Of each row, as they came; empty for a model that needs none. */
  let texts: (readonly number[])[][] = Array.from({ length: batch }, () => []);
  /** Whether texts of two lengths are rotated differently. */
  const isAcross = (a: number, b: number): boolean => beyond !== null && a > beyond !== b > beyond;

  return {
    setLength(row, length, fresh) {
      const before = slots.entered(row);
      if (beyond !== null) texts[row] = [...firstOf(texts[row]!, length), Array.from(fresh)];
      const again = isAcross(before, length + fresh.length);
      slots.truncate(row, again ? 0 : length);
      for (const part of again ? texts[row]! : [fresh]) if (part.length) slots.enter(row, part);
    },
    copy(from, to, positions) {
      if (isAcross(slots.entered(from), positions)) {
        slots.truncate(to, 0);
        texts[to] = [];
        return;
      }
      slots.copy(from, to, positions);
      texts[to] = firstOf(texts[from]!, positions);
    },
    arrange(rows) {
      slots.arrange(rows);
      texts = rows.map((row) => (row === null ? [] : texts[row]!));
    },
  };
}

/** The first tokens of a text that came in parts. */
function firstOf(parts: readonly (readonly number[])[], length: number): (readonly number[])[] {
  let left = length;
  return parts.flatMap((part) => {
    const kept = part.slice(0, left);
    left -= kept.length;
    return kept.length ? [kept] : [];
  });
}
