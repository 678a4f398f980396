/** One pass of some tokens through stages in ggml: its shape, its graph and inputs, and the progress of rows after it. */
import { tileStep } from '../../ggml/processor.ts';
import { cutWidth } from '../../model/spec.ts';
import { fillPass } from './inputs.ts';
import type { GgmlModel, PassShape, Store } from './store.ts';
import { advance, isFilled, type Progress } from '../progress.ts';
import { keyStep, trunkLength } from '../staged-model.ts';
import { tileTokens, type Kernels, type PassPart } from './tiles.ts';

/**
 * A pass of fewer tokens computes all of them to the end, even if only some are read: building another graph would take longer than it
 * saves.
 */
const manyTokens = 32;

/** Stages of a pass, which one processor computes. */
export interface PassStages {
  readonly first: number;
  readonly last: number;
  /** Whether only the last token of each row is wanted behind the last stage. */
  readonly lastOnly: boolean;
}

/** Runs stages for tokens that wait for them, for each row the number in the part. */
export function runPass(
  ggml: GgmlModel,
  store: Store,
  progress: Progress,
  { first, last, lastOnly }: PassStages,
  { counts, kernels }: PassPart,
): void {
  const { processors, stages, exits, rotations } = ggml;
  const { capacity } = store;
  const busy = counts.flatMap((count, row) => (count > 0 ? [row] : []));
  const of = (all: readonly number[]): number[] => busy.map((row) => all[row]!);
  const [starts, own, lengths] = [of(progress.ran[first]!), of(counts), of(progress.entered)];
  const end = Math.max(...starts.map((start, r) => start + own[r]!));
  const most = Math.max(...own);
  const tokens = columnsFor(kernels, most);
  // Both of the other kinds go by fours in products; whether attention sums in tiles is a setting of the processor.
  const isTiled = kernels !== 'single';
  const shape: PassShape = {
    tokens,
    rows: busy,
    keys: Math.min(capacity, Math.ceil(end / keyStep) * keyStep),
    isTiled,
    lastOnly: lastOnly && last === exits.at(-1)!.reads && tokens >= manyTokens,
  };
  const key = `${first} ${last} ${tokens} ${busy.join()} ${shape.keys} ${isTiled} ${shape.lastOnly}`;
  if (store.source(first) !== store.stream(stages[first]!.parent)) ferry(ggml, store, first, busy, starts, own);
  const graph = store.graph(key, () => ggml.stageGraph(first, last, shape, store));
  const places = { ...shape, starts, counts: own, lengths, capacity, padding: store.rows * capacity };
  // A branch has entries of its own for all tokens whose stream it reads.
  const filling = first < trunkLength(ggml) ? first : stages[first]!.parent!;
  fillPass(graph, { ...places, isFilled: (row, position) => isFilled(progress, filling, row, position) }, rotations);
  const processor = processors[first]!;
  processor.setTiled(kernels === 'tiles');
  graph.compute();
  processor.setTiled(false);
  for (let stage = first; stage <= last; stage++) advance(progress, stages, stage, counts);
  if (shape.lastOnly) for (const row of busy) progress.unreadable[row] = progress.ran[last]![row]! - 1;
}

/** Columns of each row in a pass of at most this many tokens, as its kernels take them. */
function columnsFor(kernels: Kernels, tokens: number): number {
  if (kernels === 'single') return tokens;
  const byFours = Math.ceil(tokens / tileStep) * tileStep;
  return kernels === 'tiles' ? Math.max(tileTokens, byFours) : byFours;
}

/** Copies the states that a stage reads to its own processor. Nothing else crosses: keys, values and all other streams stay in place. */
function ferry(
  { processors, model, stages }: GgmlModel,
  store: Store,
  s: number,
  rows: readonly number[],
  starts: readonly number[],
  counts: readonly number[],
): void {
  const { library } = processors[s]!;
  const { parent } = stages[s]!;
  const width = cutWidth(model.spec, store.cut(parent));
  for (const [r, count] of counts.entries()) {
    if (count === 0) continue;
    const states = new Float32Array(count * width);
    const offset = (rows[r]! * store.capacity + starts[r]!) * width * 4;
    library.get(store.stream(parent), states, offset, states.byteLength);
    library.set(store.source(s), states, offset, states.byteLength);
  }
}
