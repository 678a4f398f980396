/** Records that a model in ggml and its slots share. */
import type { Processor } from '../ggml/processor.ts';
import type { BuiltGraph } from '../ggml/graph.ts';
import type { Tensor } from '../ggml/library.ts';
import type { Past } from '../ggml/ops.ts';
import type { Model } from '../model/open.ts';
import type { Cut } from '../model/spec.ts';
import type { ToldRotations } from './rotations.ts';
import type { ExitPoint, StageSpec } from './staged-model.ts';

/** What slots ask of the model that they belong to. */
export interface GgmlModel {
  readonly processor: Processor;
  readonly model: Model;
  readonly exact: boolean;
  readonly rotations: ToldRotations;
  readonly stages: readonly StageSpec[];
  readonly exits: readonly ExitPoint[];
  stageGraph(stage: number, shape: PassShape, store: SlotsStore): BuiltGraph;
  readGraph(exit: number, positions: number, store: SlotsStore): BuiltGraph;
}

/** Columns of a pass: so many tokens of so many rows from `first` on, which see `keys` positions. */
export interface PassShape {
  readonly tokens: number;
  readonly batch: number;
  readonly first: number;
  readonly keys: number;
}

/** The tensors of some slots, for so many rows of so many positions. One more row takes what padding writes. */
export interface SlotsStore {
  past(slot: string): Omit<Past, 'first' | 'keys'>;
  /** Behind a stage; null: the embedding. */
  stream(stage: number | null): Tensor;
  cut(stage: number | null): Cut;
}

export interface Store extends SlotsStore {
  readonly rows: number;
  readonly capacity: number;
  readonly bytes: number;
  graph(key: string, build: () => BuiltGraph): BuiltGraph;
  dispose(): void;
}

/** A store that was given back stands ready with its graphs, for the next text of the same batch. */
export interface StoreShelf {
  take(rows: number): Store | null;
  put(store: Store): void;
}
