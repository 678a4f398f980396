/**
 * The slots of a decoding as its loop uses them: tokens that wait for a stage run when they are needed, all at once, and the time of passes
 * is reported. Keys, values and states belong to the runtime; here are only counters.
 */
import type { Block } from './block.ts';
import type { Stopping } from './prompt-exit.ts';
import { longerThan } from '../model/spec.ts';
import {
  branchOf,
  stageLayers,
  trunkLength,
  type Place,
  type RowReadout,
  type RunOptions,
  type Slots,
  type StagedModel,
} from '../runtime/staged-model.ts';

/** Most tokens in one pass: bounds the memory of a long prompt. */
const passLimit = 512;

interface AdvanceOptions extends Pick<RunOptions, 'lastOnly'> {
  /** Rows of which every token must be run by every stage, even if a memory has filled it. */
  readonly whole?: readonly number[];
}

interface FillOptions extends Pick<RunOptions, 'lastOnly'> {
  readonly stopping?: Stopping | null;
}

export interface KvCache {
  readonly rows: number;
  /** Tokens of a row that have entered the model. */
  position(row: number): number;
  /** Whether the last token of a row can be read at the final exit; see `Slots`. */
  isReadable(row: number): boolean;
  /** Queues new tokens of a row for the first stage. */
  enter(row: number, ids: ArrayLike<number>): void;
  /** Runs the stages up to `stages` for everything that waits in these rows; see `Slots.run` for `lastOnly`. */
  advance(stages: number, rows: readonly number[], options?: AdvanceOptions): Promise<void>;
  /** Readouts of exit k for the last `counts[i]` tokens of row `rows[i]`, which must have been advanced to it. */
  read(
    k: number,
    rows: readonly number[],
    counts: readonly number[],
    options: { logits: boolean },
  ): Promise<RowReadout[]>;
  /** State of the token `back` places from the end of a row, at the cut of exit k; valid until the cache changes. */
  state(k: number, row: number, back: number): Float32Array;
  /**
   * Tokens leave at exit k, which has a memory, and need no later stage: the memory fills those stages. Each token must have been advanced
   * to the exit.
   */
  leave(k: number, places: readonly Place[]): Promise<void>;
  /** Makes a row exact again after memories filled some of it: the next pass runs the later stages for those tokens. */
  repair(row: number): void;
  /** Forgets every token of a row from `position` on. */
  truncate(row: number, position: number): void;
  /** A row becomes the first `positions` of another. */
  copy(from: number, to: number, positions: number): void;
  /**
   * Runs every stage for the waiting ones of a row's first `upTo` tokens, without other rows; also the branches of the exits k. If some of
   * the tokens stop at an exit, its memory fills the later stages for them.
   */
  fill(row: number, exits: readonly number[], upTo: number, options?: FillOptions): Promise<void>;
  /** Some rows as a cache of their own, in this order: the others stay out of its passes. */
  of(rows: readonly number[]): KvCache;
  /** The rows become these of before, in this order; null: an empty one. Caches that `of` gave end. */
  arrange(rows: readonly (number | null)[]): void;
  /** See `Slots`. */
  readonly filledRows: Slots['filledRows'];
  dispose(): void;
}

/** Called after each pass: stage (−1 − k for a readout of exit k), tokens in it, milliseconds. */
export type OnPass = (stage: number, tokens: number, milliseconds: number) => void;

export function openKvCache(model: StagedModel, batch: number, onPass: OnPass = () => undefined): KvCache {
  const { exits } = model;
  const slots = model.openSlots(batch);
  const layersOf = model.stages.map(stageLayers);
  const beyond = longerThan(model.spec);
  /**
   * For models whose rotation depends on the length of the text: the tokens of each row, which are computed again when the text becomes a
   * long one.
   */
  let texts: (readonly number[])[][] = Array.from({ length: batch }, () => []);
  const turnsDifferently = (a: number, b: number): boolean => beyond !== null && a > beyond !== b > beyond;

  const setLength = (row: number, length: number, fresh: ArrayLike<number>): void => {
    const before = slots.entered(row);
    if (beyond !== null) texts[row] = [...firstOf(texts[row]!, length), Array.from(fresh)];
    const again = turnsDifferently(before, length + fresh.length);
    slots.truncate(row, again ? 0 : length);
    for (const part of again ? texts[row]! : [fresh]) if (part.length) slots.enter(row, part);
  };

  /** A pass through several stages, as each would have had of it. */
  const tell = (first: number, last: number, tokens: number, milliseconds: number): void => {
    const all = layersOf.slice(first, last + 1).reduce((sum, layers) => sum + layers, 0);
    for (let s = first; s <= last; s++) onPass(s, tokens, (milliseconds * layersOf[s]!) / all);
  };

  /**
   * Runs this number of tokens of a stage, in passes of similar size: a pass with only the last few of many tokens would cost almost as
   * much as one with many.
   */
  const runPasses = async (
    stage: number,
    rows: number,
    tokens: number,
    countOf: (row: number, most: number) => number,
    options: RunOptions = {},
  ): Promise<void> => {
    for (let left = tokens; left > 0;) {
      const most = Math.ceil(left / Math.ceil(left / passLimit));
      const counts = Array.from({ length: slots.rows }, (_, row) => countOf(row, most));
      const started = performance.now();
      await slots.run(stage, counts, options);
      tell(stage, options.last ?? stage, rows * most, performance.now() - started);
      left -= most;
    }
  };

  /** Everything that waits in the chosen rows; the others of `rows` go along as far as the pass is long. */
  const runStage = async (
    stage: number,
    chosen: readonly number[],
    rows: readonly number[],
    options?: RunOptions,
  ): Promise<void> => {
    const waiting = Math.max(...chosen.map((row) => slots.waiting(stage, row)));
    const countOf = (row: number, most: number): number =>
      rows.includes(row) ? Math.min(most, slots.waiting(stage, row)) : 0;
    await runPasses(stage, rows.length, waiting, countOf, options);
  };

  /**
   * The last stage, from one on, such that all stages up to it have run equally many tokens in all of these rows: waiting tokens go through
   * them together.
   */
  const lastTogether = (first: number, upTo: number, rows: readonly number[]): number => {
    const isAsFar = (s: number): boolean => rows.every((row) => slots.filled(s, row) === slots.filled(first, row));
    let last = first;
    while (last + 1 < upTo && isAsFar(last + 1)) last++;
    return last;
  };

  /** Of the rows that `rowsOf()` names. */
  const cacheOf = (rowsOf: () => readonly number[]): KvCache => {
    const at = (row: number): number => rowsOf()[row]!;
    const allAt = (rows: readonly number[]): number[] => rows.map(at);
    return {
      get rows() {
        return rowsOf().length;
      },
      position: (row) => slots.entered(at(row)),
      isReadable: (row) => slots.isReadable(at(row)),
      enter: (row, ids) => setLength(at(row), slots.entered(at(row)), ids),
      async advance(upTo, chosen, { whole = [], ...options } = {}) {
        for (const row of rowsOf()) if (!allAt(whole).includes(row)) slots.skip(row);
        for (let s = 0, last = 0; s < upTo; s = last + 1) {
          last = lastTogether(s, upTo, rowsOf());
          await runStage(s, allAt(chosen), rowsOf(), { ...options, last });
        }
      },
      async fill(row, chosen, upTo, { stopping = null, ...options } = {}) {
        const own = at(row);
        const branches = chosen.map((k) => branchOf(exits[k]!)).filter((branch) => branch !== null);
        const end = Math.min(upTo, slots.entered(own));
        const run = async (stage: number, last: number, until: number): Promise<void> => {
          const left = (): number => until - slots.filled(stage, own);
          const countOf = (r: number, most: number): number => (r === own ? Math.min(most, left()) : 0);
          await runPasses(stage, 1, left(), countOf, { ...options, last });
        };
        const through = async (from: number, to: number, until: number): Promise<void> => {
          for (let s = from, last = from; s < to; s = last + 1) {
            last = lastTogether(s, to, [own]);
            await run(s, last, until);
          }
        };
        const trunk = trunkLength(model);
        if (stopping !== null) {
          const { stages } = exits[stopping.k]!;
          await through(0, stages, end);
          // What a stage behind has run already stays as it is.
          const ran = model.stages.slice(stages, trunk).map((_, s) => slots.filled(stages + s, own));
          const [from, to] = [Math.max(stopping.from, ...ran), Math.min(stopping.to, end)];
          if (from < to) {
            await through(stages, trunk, from);
            const places = Array.from({ length: to - from }, (_, i) => ({ row: own, position: from + i }));
            await slots.fill(stopping.k, places);
            slots.skip(own);
          }
        }
        await through(0, trunk, end);
        for (const branch of branches) await run(branch, branch, end);
      },
      async read(k, chosen, counts, options) {
        const branch = branchOf(exits[k]!);
        if (branch !== null) await runStage(branch, allAt(chosen), rowsOf());
        const started = performance.now();
        const readouts = await slots.read(k, allAt(chosen), counts, options);
        const total = counts.reduce((a, b) => a + b, 0);
        onPass(-1 - k, total, performance.now() - started);
        return readouts;
      },
      state(k, row, fromEnd) {
        const stage = exits[k]!.stages - 1;
        return slots.state(stage, at(row), slots.filled(stage, at(row)) - 1 - fromEnd);
      },
      leave: (k, places) =>
        slots.fill(
          k,
          places.map(({ row, position }) => ({ row: at(row), position })),
        ),
      repair: (row) => slots.repair(at(row)),
      truncate: (row, position) => setLength(at(row), Math.min(position, slots.entered(at(row))), []),
      copy(from, to, positions) {
        const [source, target] = [at(from), at(to)];
        // If the rotation depends on the length, a copy may need the other rotation.
        if (turnsDifferently(slots.entered(source), positions)) {
          slots.truncate(target, 0);
          texts[target] = [];
          return;
        }
        slots.copy(source, target, positions);
        texts[target] = firstOf(texts[source]!, positions);
      },
      arrange(rows) {
        const before = texts;
        slots.arrange(rows.map((row) => (row === null ? null : at(row))));
        texts = rows.map((row) => (row === null ? [] : before[at(row)]!));
        all = [...rows.keys()];
      },
      of: (rows) => {
        const own = allAt(rows);
        return cacheOf(() => own);
      },
      filledRows: (slot, row) => slots.filledRows(slot, at(row)),
      dispose: () => slots.dispose(),
    };
  };
  let all: readonly number[] = [...Array(batch).keys()];
  return cacheOf(() => all);
}

/** Takes wrong drafts back: `decided` tokens of a row's block, which is in the cache with its drafts, stay. */
export const takeBack = (cache: KvCache, row: number, { drafts }: Block, decided: number): void =>
  cache.truncate(row, cache.position(row) - drafts.length + decided - 1);

/** The first tokens of a text that came in parts. */
function firstOf(parts: readonly (readonly number[])[], length: number): (readonly number[])[] {
  let left = length;
  return parts.flatMap((part) => {
    const kept = part.slice(0, left);
    left -= kept.length;
    return kept.length ? [kept] : [];
  });
}
