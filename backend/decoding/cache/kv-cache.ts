/**
 * The slots of a decoding as its loop uses them: tokens that wait for a stage run when they are needed, all at once, and the time of passes
 * is reported. Keys, values, states and how far they are belong to the runtime.
 */
import type { Draft } from '../block.ts';
import { openPasses, type OnPass } from './passes.ts';
import type { Stopping } from '../prompts/prompt-exit.ts';
import { rowLengths } from './row-lengths.ts';
import {
  branchOf,
  trunkLength,
  type Place,
  type ReadOptions,
  type Readout,
  type RowReadout,
  type RunOptions,
  type Slots,
  type StagedModel,
} from '../../runtime/staged-model.ts';

interface AdvanceOptions extends Pick<RunOptions, 'lastOnly'> {
  /** Rows in which every stage must run every token, even one that a memory has filled. */
  readonly whole?: readonly number[];
}

interface ThroughOptions extends Pick<RunOptions, 'lastOnly'> {
  readonly stopping?: Stopping | null;
}

export interface KvCache {
  readonly rows: number;
  /** Tokens of a row that have entered the model. */
  position(row: number): number;
  /** Those of them that all layers have run. */
  finished(row: number): number;
  /** Whether a row's tokens from `position` on can be read at the final exit; see `Slots`. */
  isReadable(row: number, position: number): boolean;
  /** Queues new tokens of a row for the first stage. */
  enter(row: number, ids: ArrayLike<number>): void;
  /** Runs the stages up to `stages` for everything that waits in these rows; see `Slots.run` for `lastOnly`. */
  advance(stages: number, rows: readonly number[], options?: AdvanceOptions): Promise<void>;
  /** Readouts of exit k for the last `counts[i]` tokens that row `rows[i]` has advanced to it, or that end before `ends[i]`; see `Slots`. */
  read(k: number, rows: readonly number[], counts: readonly number[], options: ReadOptions): Promise<RowReadout[]>;
  /** Readouts of exit k at some positions of a row, which have been advanced to it. */
  readAt(k: number, row: number, positions: readonly number[]): Promise<readonly Readout[]>;
  /** State of the token at one position of a row, at the cut of exit k, to which it has been advanced; valid until the cache changes. */
  state(k: number, row: number, position: number): Float32Array;
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
  runThrough(row: number, exits: readonly number[], upTo: number, options?: ThroughOptions): Promise<void>;
  /** Some rows as a cache of their own, in this order: the others stay out of its passes. */
  of(rows: readonly number[]): KvCache;
  /** Replaces the rows: each is an earlier row, by its number, or an empty one (null). Caches from `of` can no longer be used. */
  arrange(rows: readonly (number | null)[]): void;
  /** See `Slots`. */
  readonly pastRows: Slots['pastRows'];
  dispose(): void;
}

export function openKvCache(model: StagedModel, batch: number, onPass: OnPass = () => undefined): KvCache {
  const { exits } = model;
  const slots = model.openSlots(batch);
  const passes = openPasses(model, slots, onPass);
  const lengths = rowLengths(model.spec, slots);
  let all: readonly number[] = [...Array(batch).keys()];

  /** Of the rows that `rowsOf()` names. */
  const cacheOf = (rowsOf: () => readonly number[]): KvCache => {
    const at = (row: number): number => rowsOf()[row]!;
    const allAt = (rows: readonly number[]): number[] => rows.map(at);
    return {
      get rows() {
        return rowsOf().length;
      },
      position: (row) => slots.entered(at(row)),
      finished: (row) => slots.ran(trunkLength(model) - 1, at(row)),
      isReadable: (row, position) => slots.isReadable(at(row), position),
      enter: (row, ids) => lengths.setLength(at(row), slots.entered(at(row)), ids),
      async advance(upTo, chosen, { whole = [], ...options } = {}) {
        for (const row of rowsOf()) if (!allAt(whole).includes(row)) slots.skip(row);
        for (let s = 0, last = 0; s < upTo; s = last + 1) {
          last = passes.lastTogether(s, upTo, rowsOf());
          await passes.runWaiting(s, allAt(chosen), rowsOf(), { ...options, last });
        }
      },
      async runThrough(row, chosen, upTo, { stopping = null, ...options } = {}) {
        const own = at(row);
        const end = Math.min(upTo, slots.entered(own));
        const trunk = trunkLength(model);
        const through = async (from: number, to: number, until: number): Promise<void> => {
          for (let s = from, last = from; s < to; s = last + 1) {
            last = passes.lastTogether(s, to, [own]);
            await passes.runUntil(s, own, until, { ...options, last });
          }
        };
        if (stopping !== null) {
          const { stages } = exits[stopping.k]!;
          await through(0, stages, end);
          // Tokens that a later stage has already run are not filled.
          const ran = model.stages.slice(stages, trunk).map((_, s) => slots.ran(stages + s, own));
          const [from, to] = [Math.max(stopping.from, ...ran), Math.min(stopping.to, end)];
          if (from < to) {
            await through(stages, trunk, from);
            const places = Array.from({ length: to - from }, (_, i) => ({ row: own, position: from + i }));
            await slots.fill(stopping.k, places);
            slots.skip(own);
          }
        }
        await through(0, trunk, end);
        const branches = chosen.map((k) => branchOf(exits[k]!)).filter((branch) => branch !== null);
        for (const branch of branches) await passes.runUntil(branch, own, end, { ...options, last: branch });
      },
      async read(k, chosen, counts, options) {
        const branch = branchOf(exits[k]!);
        if (branch !== null) await passes.runWaiting(branch, allAt(chosen), rowsOf());
        const started = performance.now();
        const readouts = await slots.read(k, allAt(chosen), counts, options);
        const total = counts.reduce((a, b) => a + b, 0);
        onPass(-1 - k, total, performance.now() - started);
        return readouts;
      },
      readAt: (k, row, positions) =>
        slots.readAt(
          k,
          positions.map((position) => ({ row: at(row), position })),
        ),
      state: (k, row, position) => slots.state(exits[k]!.stages - 1, at(row), position),
      leave: (k, places) =>
        slots.fill(
          k,
          places.map(({ row, position }) => ({ row: at(row), position })),
        ),
      repair: (row) => slots.repair(at(row)),
      truncate: (row, position) => lengths.setLength(at(row), Math.min(position, slots.entered(at(row))), []),
      copy: (from, to, positions) => lengths.copy(at(from), at(to), positions),
      arrange(rows) {
        slots.arrange(rows.map((row) => (row === null ? null : at(row))));
        all = [...rows.keys()];
      },
      of: (rows) => {
        const own = allAt(rows);
        return cacheOf(() => own);
      },
      pastRows: (slot, row) => slots.pastRows(slot, at(row)),
      dispose: () => slots.dispose(),
    };
  };
  return cacheOf(() => all);
}

/** Takes wrong drafts back: of a row's newest token and the drafts behind it, `decided` stay. */
export const takeBack = (cache: KvCache, row: number, drafts: readonly Draft[], decided: number): void =>
  cache.truncate(row, cache.position(row) - drafts.length + decided - 1);
