/**
 * A model whose calls are complete in themselves: what a pass needs to know of the past is handed in, and what it adds is
 * handed back. So a call that a device failed can be made again on another.
 */
import type { ModelSpec } from '../model/spec.ts';
import type { ExitPoint, Readout, StageSpec } from './staged-model.ts';

/** Rows of a batch in one pass; row r has `counts[r]` new tokens, padded to `tokens`. */
export interface Pass {
  readonly batch: number;
  readonly tokens: number;
  readonly counts: readonly number[];
  /** Absolute position of the first new token of each row; also how many keys of its past are valid. */
  readonly starts: readonly number[];
  /** Positions of each row's text so far, those of later passes too: some rotations depend on it. */
  readonly lengths: readonly number[];
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

export interface PassModel {
  readonly spec: ModelSpec;
  readonly stages: readonly StageSpec[];
  readonly exits: readonly ExitPoint[];
  /** Token embeddings `[ids.length, hidden]`; `positions` only matter where they are learned. */
  embed(ids: ArrayLike<number>, positions: ArrayLike<number>): Float32Array;
  /** The stream behind a stage `[batch, tokens, width]`, and the new keys and values of its slots. Without any past, it begins here. */
  runStage(
    stage: number,
    hidden: Float32Array,
    pass: Pass,
    past: ReadonlyMap<string, PastRows>,
  ): Promise<{ hidden: Float32Array; rows: Map<string, NewRows> }>;
  /**
   * What exit k says of each of `positions` states of the stream that it reads. With `logits`, whole rows `[positions, vocabulary]`
   * come too (−∞ outside a shortlist), and both are those of the whole head; without, the final head may be screened: the
   * same token but for near ties, and probabilities that are near.
   */
  readExit(
    k: number,
    hidden: Float32Array,
    positions: number,
    options?: { logits?: boolean },
  ): Promise<{ readouts: Readout[]; logits: Float32Array | null }>;
  dispose(): Promise<void>;
}
