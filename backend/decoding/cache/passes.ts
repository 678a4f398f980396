/**
 * Passes of some slots: tokens that wait for stages run in pieces of bounded size, through as many stages at once as possible, and each
 * pass is timed.
 */
import { stageLayers, type RunOptions, type Slots, type StagedModel } from '../../runtime/staged-model.ts';

/** Most tokens in one pass: bounds the memory of a long prompt. */
const passLimit = 512;

/** Called after each pass: stage (−1 − k for a readout of exit k), tokens in it, milliseconds. */
export type OnPass = (stage: number, tokens: number, milliseconds: number) => void;

export interface Passes {
  /** Runs all tokens that wait for a stage in the chosen rows. Waiting tokens of the other `rows` use the room that is left in these passes. */
  runWaiting(stage: number, chosen: readonly number[], rows: readonly number[], options?: RunOptions): Promise<void>;
  /** Runs the tokens of one row that a stage has not run, up to the first `until`. */
  runUntil(stage: number, row: number, until: number, options?: RunOptions): Promise<void>;
  /**
   * The last stage, from one on, such that all stages up to it have run equally many tokens in all of these rows: waiting tokens go through
   * them together.
   */
  lastTogether(first: number, upTo: number, rows: readonly number[]): number;
}

export function openPasses(model: StagedModel, slots: Slots, onPass: OnPass): Passes {
  const layersOf = model.stages.map(stageLayers);

  /** Reports a pass through several stages as one pass of each, with its share of the time by layers. */
  const tell = (first: number, last: number, tokens: number, milliseconds: number): void => {
    const all = layersOf.slice(first, last + 1).reduce((sum, layers) => sum + layers, 0);
    for (let s = first; s <= last; s++) onPass(s, tokens, (milliseconds * layersOf[s]!) / all);
  };

  /** Runs tokens of a stage in passes of similar size: a last pass with few tokens would cost almost as much as one with many. */
  const run = async (
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

  return {
    async runWaiting(stage, chosen, rows, options) {
      const waiting = Math.max(...chosen.map((row) => slots.waiting(stage, row)));
      const countOf = (row: number, most: number): number =>
        rows.includes(row) ? Math.min(most, slots.waiting(stage, row)) : 0;
      await run(stage, rows.length, waiting, countOf, options);
    },
    async runUntil(stage, own, until, options) {
      const left = (): number => until - slots.ran(stage, own);
      const countOf = (row: number, most: number): number => (row === own ? Math.min(most, left()) : 0);
      await run(stage, 1, left(), countOf, options);
    },
    lastTogether(first, upTo, rows) {
      const isAsFar = (s: number): boolean => rows.every((row) => slots.ran(s, row) === slots.ran(first, row));
      let last = first;
      while (last + 1 < upTo && isAsFar(last + 1)) last++;
      return last;
    },
  };
}
