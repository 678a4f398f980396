/**
 * What a model in ggml and its slots share: the tensors of some slots, in the buffers of the processors that compute with
 * them, and the graphs over those tensors.
 */
import { buildGraph, type BuiltGraph } from '../../ggml/graph.ts';
import { types, type Buffer, type Context, type Tensor } from '../../ggml/library.ts';
import type { Memory } from '../../ggml/large-pages.ts';
import { newContext, noMemory, type Processor } from '../../ggml/processor.ts';
import type { Past } from '../../ggml/ops/pass.ts';
import type { Model } from '../../model/open.ts';
import type { InputRotations } from './rotations.ts';
import { cutWidth, inputCut, type Cut } from '../../model/spec.ts';
import { withEntries, type Progress } from '../progress.ts';
import type { HeadRows } from '../readouts/head-rows.ts';
import type { ExitPoint, StageSpec } from '../staged-model.ts';
import type { SpellingReader } from '../readouts/spellings.ts';
import type { Shortlists } from '../readouts/unlisted.ts';

/** What slots ask of the model that they belong to. */
export interface GgmlModel {
  /** Of each stage. */
  readonly processors: readonly Processor[];
  readonly model: Model;
  readonly exact: boolean;
  readonly rotations: InputRotations;
  readonly stages: readonly StageSpec[];
  readonly exits: readonly ExitPoint[];
  /** Of the stages from one to another, in one. */
  stageGraph(first: number, last: number, shape: PassShape, store: SlotsStore): BuiltGraph;
  /** Of exits that also read what they lack: readouts/unlisted.ts. */
  readonly shortlists: Shortlists;
  /** Of exits that read them: readouts/spellings.ts. */
  readonly spellings: readonly (SpellingReader | null)[];
  /** See `tokensOf` of readouts/readouts.ts, of each exit. */
  readonly tokensOfClasses: readonly (readonly number[] | null)[];
  /** Rows of the model's head where an exit is read. */
  headRows(exit: number): HeadRows;
  /** Whether readouts of an exit without logits are screened: ggml/ops/screened.ts. */
  screens(exit: number): boolean;
  readGraph(exit: number, shape: ReadShape, store: SlotsStore): BuiltGraph;
  /** Fills the layers behind an exit that has a memory. */
  memoryGraph(exit: number, columns: number, store: SlotsStore): BuiltGraph;
}

export interface ReadShape {
  readonly positions: number;
  readonly isScreened: boolean;
  /** Of unlisted tokens; null if none are read. */
  readonly unlisted: UnlistedShape | null;
}

/** As many unlisted tokens of each of some rows, which have equally many of the positions each, in order. */
export interface UnlistedShape {
  readonly rows: number;
  readonly tokens: number;
}

/** Columns of a pass: equally many tokens of each of some rows, which see `keys` positions. */
export interface PassShape {
  readonly tokens: number;
  readonly rows: readonly number[];
  readonly keys: number;
  /** Whether products go by fours: `tokens` is a multiple of `tileStep` then. See tiles.ts. */
  readonly isTiled: boolean;
  /** Only the last token of each row comes out: the others are not computed behind the last attention. */
  readonly lastOnly: boolean;
}

/** The tensors of some slots. One more row takes the output of padding. */
export interface SlotsStore {
  past(slot: string): Omit<Past, 'rows' | 'keys'>;
  /** Behind a stage; null: the embedding. */
  stream(stage: number | null): Tensor;
  /** The input of a stage: the stream behind its parent, or a copy of it if the stage has another processor. */
  source(stage: number): Tensor;
  cut(stage: number | null): Cut;
}

export interface Store extends SlotsStore {
  readonly rows: number;
  readonly capacity: number;
  readonly bytes: number;
  graph(key: string, build: () => BuiltGraph): BuiltGraph;
  dispose(): void;
}

/** A store that was given back is kept with its graphs for the next text of the same batch. */
export interface StoreShelf {
  take(rows: number): Store | null;
  put(store: Store): void;
}

/** Most graphs that are kept, and most bytes of their buffers. */
const keptGraphs = 96;
const keptBytes = 1 << 29;

export function openStore({ processors, model, exact, stages }: GgmlModel, rows: number, capacity: number): Store {
  const { spec } = model;
  const places = rows * capacity + 1;
  const slotCount = stages.reduce((sum, { slots }) => sum + slots.length, 0);
  const shelves = new Map(
    [...new Set(processors)].map((each) => [each, newShelf(each, 2 * stages.length + 2 * slotCount + 2)]),
  );
  const matrix = (on: Processor, of: keyof typeof types, columns: number): Tensor =>
    on.library.newTensor2(shelves.get(on)!.context, types[of], columns, places);
  const type = exact ? 'F32' : 'F16';
  const width = spec.kvHeads * spec.headDimensions;
  const pasts = new Map(
    stages.flatMap(({ slots }, s) =>
      slots.map((slot) => {
        const [key, value] = [matrix(processors[s]!, type, width), matrix(processors[s]!, type, width)];
        return [slot, { key, value, type, capacity } as const];
      }),
    ),
  );
  const cuts = [inputCut, ...stages.map(({ to }) => to)];
  const stream = (on: Processor, cut: Cut): Tensor => matrix(on, 'F32', cutWidth(spec, cut));
  const embedded = stream(processors[0]!, inputCut);
  const streams = stages.map(({ to }, s) => stream(processors[s]!, to));
  const sources = stages.map(({ parent, from }, s) => {
    if (parent === null) return embedded;
    return processors[parent] === processors[s] ? streams[parent]! : stream(processors[s]!, from);
  });
  const dispose = (): void => {
    for (const shelf of shelves.values()) shelf.dispose();
  };
  try {
    for (const shelf of shelves.values()) shelf.allocate(`the keys and values of ${places} positions`);
  } catch (error) {
    dispose();
    throw error;
  }
  const graphs = new Map<string, BuiltGraph>();
  return {
    rows,
    capacity,
    bytes: [...shelves.values()].reduce((sum, shelf) => sum + shelf.bytes(), 0),
    past: (slot) => pasts.get(slot)!,
    stream: (stage) => (stage === null ? embedded : streams[stage]!),
    source: (stage) => sources[stage]!,
    cut: (stage) => cuts[stage === null ? 0 : stage + 1]!,
    graph(key, build) {
      const known = graphs.get(key);
      const graph = known ?? build();
      // The most recently used is last.
      graphs.delete(key);
      graphs.set(key, graph);
      if (known) return graph;
      let bytes = [...graphs.values()].reduce((sum, each) => sum + each.bytes, 0);
      for (const [oldest, old] of graphs) {
        if (old === graph || (graphs.size <= keptGraphs && bytes <= keptBytes)) break;
        bytes -= old.bytes;
        old.dispose();
        graphs.delete(oldest);
      }
      return graph;
    },
    dispose() {
      for (const graph of graphs.values()) graph.dispose();
      graphs.clear();
      dispose();
    },
  };
}

/** Tensors of one processor: described in `context`, then allocated together. */
function newShelf(processor: Processor, tensors: number) {
  const { library } = processor;
  const context: Context = newContext(library, tensors);
  let buffer: Buffer | null = null;
  let memory: Memory | null = null;
  return {
    context,
    allocate(what: string): void {
      buffer = library.allocate(context, processor.plain);
      if (buffer === null)
        throw noMemory(processor, what, 'Close other programs, or take fewer or shorter texts at a time.');
      // What was never written is masked, but must be numbers.
      library.clearBuffer(buffer, 0);
      memory = { from: library.bufferBase(buffer), used: library.bufferSize(buffer) };
      processor.largePages?.add(memory);
    },
    bytes: (): number => (buffer === null ? 0 : library.bufferSize(buffer)),
    dispose(): void {
      if (memory !== null) processor.largePages?.remove(memory);
      if (buffer !== null) library.freeBuffer(buffer);
      library.free(context);
    },
  };
}

/** One tensor of a store with all its rows: the bytes of a position in it, and how many positions of each row move with it. */
export interface StoredRows {
  readonly tensor: Tensor;
  readonly processor: Processor;
  /** Elements of a position. */
  readonly columns: number;
  readonly bytes: number;
  readonly counts: readonly number[];
}

function storedTensors(
  { processors, model: { spec }, stages }: GgmlModel,
  store: Store,
  progress: Progress,
): StoredRows[] {
  const width = spec.kvHeads * spec.headDimensions;
  return [{ slots: [] }, ...stages].flatMap(({ slots }, s): StoredRows[] => {
    const stage = s === 0 ? null : s - 1;
    const processor = processors[stage ?? 0]!;
    const { entered } = progress;
    const pasts = slots.flatMap((slot): StoredRows[] => {
      const { key, value, type } = store.past(slot);
      const bytes = width * (type === 'F16' ? 2 : 4);
      // A stage that has slots is not the embedding.
      const counts = entered.map((_, row) => withEntries(progress, stage!, row));
      return [
        { tensor: key, processor, columns: width, bytes, counts },
        { tensor: value, processor, columns: width, bytes, counts },
      ];
    });
    const columns = cutWidth(spec, store.cut(stage));
    const counts = stage === null ? entered : progress.ran[stage]!;
    return [{ tensor: store.stream(stage), processor, columns, bytes: 4 * columns, counts }, ...pasts];
  });
}

/** A row that becomes another; as many positions are copied as `like` has. */
export interface RowCopy {
  readonly row: number;
  readonly place: number;
  readonly like: number;
}

/** Copies rows on their processors, within a store or from one to another. */
export function copyRows(ggml: GgmlModel, progress: Progress, from: Store, to: Store, rows: readonly RowCopy[]): void {
  const targets = storedTensors(ggml, to, progress);
  const copies = storedTensors(ggml, from, progress).map((stored, i) => ({ ...stored, target: targets[i]!.tensor }));
  for (const processor of new Set(ggml.processors)) {
    const { library } = processor;
    const own = copies.filter((copy) => copy.processor === processor);
    const graph = buildGraph(processor, 4 * own.length * rows.length + 8, (sketch) => {
      const { context } = sketch;
      for (const { tensor, target, columns, bytes, counts } of own) {
        for (const { row, place, like } of rows) {
          const count = counts[like]!;
          if (count === 0) continue;
          const view = (of: Tensor, capacity: number, at: number): Tensor =>
            library.view2(context, of, columns, count, bytes, at * capacity * bytes);
          sketch.effect(library.cpy(context, view(tensor, from.capacity, row), view(target, to.capacity, place)));
        }
      }
    });
    try {
      graph.compute();
    } finally {
      graph.dispose();
    }
  }
}

/** A store of another size in place of one, with what these of its rows have, in this order; null: an empty row. */
export function replaceStore(
  ggml: GgmlModel,
  progress: Progress,
  store: Store,
  capacity: number,
  rows: readonly (number | null)[],
): Store {
  const next = openStore(ggml, rows.length, capacity);
  const copies = rows.flatMap((row, place) => (row === null ? [] : [{ row, place, like: row }]));
  try {
    copyRows(ggml, progress, store, next, copies);
  } catch (error) {
    next.dispose();
    throw error;
  }
  store.dispose();
  return next;
}
