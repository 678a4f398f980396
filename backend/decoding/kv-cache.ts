/**
 * The slots of a decoding as its loop uses them: what waits for a stage runs when it is wanted, everything at once, and what
 * passes took is told. Keys, values and states are the runtime's; here are counters alone.
 */
import { longerThan } from '../model/spec.ts';
import { branchOf, type RowReadout, type Slots, type StagedModel } from '../runtime/staged-model.ts';

/** Most tokens in one pass: bounds the memory of a long prompt. */
const passLimit = 512;

export interface KvCache {
  readonly rows: number;
  /** Tokens of a row that have entered the model. */
  position(row: number): number;
  /** Queues new tokens of a row for the first stage. */
  enter(row: number, ids: ArrayLike<number>): void;
  /** Runs the stages up to `stages` for everything that waits in these rows. */
  advance(stages: number, rows: readonly number[]): Promise<void>;
  /** What exit k says of the last `counts[i]` tokens of row `rows[i]`, which must have been advanced to it. */
  read(
    k: number,
    rows: readonly number[],
    counts: readonly number[],
    options: { logits: boolean },
  ): Promise<RowReadout[]>;
  /** State of the token `back` places from the end of a row, at the cut of exit k; valid until the cache changes. */
  state(k: number, row: number, back: number): Float32Array;
  /** Forgets every token of a row from `position` on. */
  truncate(row: number, position: number): void;
  /** Keeps only these rows, in this order. */
  keep(rows: readonly number[]): void;
  /** See `Slots`. */
  readonly filledRows: Slots['filledRows'];
  dispose(): void;
}

/** Told of each pass: stage (−1 − k for a reading of exit k), tokens in it, milliseconds. */
export type OnPass = (stage: number, tokens: number, milliseconds: number) => void;

export function openKvCache(model: StagedModel, batch: number, onPass: OnPass = () => undefined): KvCache {
  const { exits } = model;
  const slots = model.openSlots(batch);
  const beyond = longerThan(model.spec);
  /** Where a longer text turns otherwise: the tokens of each row as they came, which are computed again when it becomes one. */
  let texts: (readonly number[])[][] = Array.from({ length: batch }, () => []);
  const turnsOtherwise = (a: number, b: number): boolean => beyond !== null && a > beyond !== b > beyond;

  const setLength = (row: number, length: number, fresh: ArrayLike<number>): void => {
    const before = slots.entered(row);
    if (beyond !== null) texts[row] = [...firstOf(texts[row]!, length), Array.from(fresh)];
    const again = turnsOtherwise(before, length + fresh.length);
    slots.truncate(row, again ? 0 : length);
    for (const part of again ? texts[row]! : [fresh]) if (part.length) slots.enter(row, part);
  };

  /** Everything that waits in these rows; the other rows of a batch go along as far as the pass is long. */
  const runStage = async (stage: number, chosen: readonly number[]): Promise<void> => {
    for (;;) {
      const waiting = Math.max(...chosen.map((row) => slots.waiting(stage, row)));
      if (waiting <= 0) return;
      // In passes of like size: the last few of many would cost almost as much as many.
      const tokens = Math.ceil(waiting / Math.ceil(waiting / passLimit));
      const counts = Array.from({ length: slots.rows }, (_, row) => Math.min(tokens, slots.waiting(stage, row)));
      const started = performance.now();
      await slots.run(stage, counts);
      onPass(stage, slots.rows * tokens, performance.now() - started);
    }
  };

  return {
    get rows() {
      return slots.rows;
    },
    position: (row) => slots.entered(row),
    enter: (row, ids) => setLength(row, slots.entered(row), ids),
    async advance(upTo, chosen) {
      for (let s = 0; s < upTo; s++) await runStage(s, chosen);
    },
    async read(k, chosen, counts, options) {
      const branch = branchOf(exits[k]!);
      if (branch !== null) await runStage(branch, chosen);
      const started = performance.now();
      const said = await slots.read(k, chosen, counts, options);
      const total = counts.reduce((a, b) => a + b, 0);
      onPass(-1 - k, total, performance.now() - started);
      return said;
    },
    state(k, row, fromEnd) {
      const stage = exits[k]!.stages - 1;
      return slots.state(stage, row, slots.filled(stage, row) - 1 - fromEnd);
    },
    truncate: (row, position) => setLength(row, Math.min(position, slots.entered(row)), []),
    keep(kept) {
      slots.keep(kept);
      texts = kept.map((row) => texts[row]!);
    },
    filledRows: (slot, row) => slots.filledRows(slot, row),
    dispose: () => slots.dispose(),
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
