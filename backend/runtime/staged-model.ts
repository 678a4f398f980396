/**
 * A model with exits as everything above runtime/ sees it: stages between cuts and readouts of exits. Small enough to be
 * faked in a test. All calls are synchronous inside ONNX Runtime and belong on a worker's thread.
 */
import type { ExitSpec } from '../exits/spec.ts';
import type { Cut, ModelSpec } from '../model/spec.ts';

/** Rows of a batch in one pass; row r has `counts[r]` new tokens, padded to `tokens`. */
export interface Pass {
  readonly batch: number;
  readonly tokens: number;
  readonly counts: readonly number[];
  /** Absolute position of the first new token of each row; also how many keys of its past are valid. */
  readonly starts: readonly number[];
}

/** New keys and values of one attention: `[batch, tokens, kvHeads · headDimensions]` each. */
export interface NewRows {
  readonly key: Float32Array;
  readonly value: Float32Array;
}

/**
 * Past keys and values per slot: `[batch, capacity, kvHeads · headDimensions]`, time-major, each row's from its beginning. Capacity
 * has room for the new tokens of the pass, padding included: it is at least every row's start and `tokens`.
 */
export interface PastRows {
  readonly capacity: number;
  readonly key: Float32Array;
  readonly value: Float32Array;
}

/** What an exit says of one position. `token` is −1 where the defer class won. */
export interface Readout {
  readonly token: number;
  /** Largest probability among real tokens. */
  readonly confidence: number;
  /** Largest minus second largest. */
  readonly margin: number;
  /** Nats, of the whole distribution. */
  readonly entropy: number;
  readonly candidates: readonly { readonly id: number; readonly probability: number }[];
}

export interface StageSpec {
  readonly from: Cut;
  readonly to: Cut;
  /** Width of the stream it reads. */
  readonly width: number;
  /** Cache slots in the stage, in order. */
  readonly slots: readonly string[];
}

/** An exit that can be read: `spec` is null for the model's own norm and head, the last one. */
export interface ExitPoint {
  readonly id: string;
  readonly layer: number;
  /** How many stages must have run before it can be read. */
  readonly stages: number;
  readonly spec: ExitSpec | null;
  /** Slots of its own (a `layer` exit), else empty. */
  readonly slots: readonly string[];
}

export interface StagedModel {
  readonly spec: ModelSpec;
  readonly stages: readonly StageSpec[];
  /** In the order of the stream; the final exit is last. */
  readonly exits: readonly ExitPoint[];
  /** Token embeddings `[ids.length, hidden]`; `positions` only matter where they are learned. */
  embed(ids: ArrayLike<number>, positions: ArrayLike<number>): Float32Array;
  /** The stream after a stage `[batch, tokens, width]`, and the new keys and values of its slots. Without any past, it begins here. */
  runStage(
    stage: number,
    hidden: Float32Array,
    pass: Pass,
    past: ReadonlyMap<string, PastRows>,
  ): Promise<{ hidden: Float32Array; rows: Map<string, NewRows> }>;
  /**
   * What exit k says at each token `[batch · tokens]` of the stream at its cut. With `logits`, whole rows
   * `[batch · tokens, vocabulary]` come too (−∞ outside a shortlist), and both are those of the whole head; without, the final
   * head may be screened: the same token but for near ties, and probabilities that are near.
   */
  readExit(
    k: number,
    hidden: Float32Array,
    pass: Pass,
    past: ReadonlyMap<string, PastRows>,
    options?: { logits?: boolean },
  ): Promise<{ readouts: Readout[]; logits: Float32Array | null; rows: Map<string, NewRows> }>;
  dispose(): Promise<void>;
}

/** A frozen backbone that only yields its stream at some cuts: what tuning needs. */
export interface FeatureModel {
  readonly spec: ModelSpec;
  readonly cuts: readonly Cut[];
  /** Full sequences ids `[batch, tokens]` → the stream at each cut `[batch, tokens, width]`, in the order of `cuts`. Stops at the deepest. */
  features(ids: Int32Array, batch: number, tokens: number): Promise<Float32Array[]>;
  dispose(): Promise<void>;
}
