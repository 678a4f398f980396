/**
 * A model with exits as everything above runtime/ sees it: stages between cuts, readouts of exits, and slots that contain what its
 * sequences have computed, on the device that computes. Small enough for a fake in tests. Calls block, so they belong on a worker's thread.
 */
import type { ExitSpec } from '../exits/spec.ts';
import { cutWidth, type Cut, type ModelSpec } from '../model/spec.ts';
import type { Progress, RowChanges } from './progress.ts';

/** An exit's prediction for one position. `token` is −1 if the defer class won. */
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

export interface RowReadout {
  /** One a token. */
  readonly readouts: readonly Readout[];
  /** `[tokens, vocabulary]`, −∞ for tokens that the exit does not read; only if requested. */
  readonly logits: Float32Array | null;
}

/**
 * The layers between two cuts. Stages form a tree: the trunk, one behind the other, then the branches, which are the layers
 * that exits have of their own.
 */
export interface StageSpec {
  /** The stage whose stream it reads; null: the embedding. */
  readonly parent: number | null;
  readonly from: Cut;
  readonly to: Cut;
  /** Width of the stream it reads. */
  readonly width: number;
  /** Of its attentions, in order. */
  readonly slots: readonly string[];
}

/** An exit that can be read: `spec` is null for the model's own norm and head, the last one. */
export interface ExitPoint {
  readonly id: string;
  readonly layer: number;
  /** How many stages of the trunk must have run before it can be read. */
  readonly stages: number;
  /** The stage whose stream it reads: the last one of the trunk's, or a branch behind that. */
  readonly reads: number;
  readonly spec: ExitSpec | null;
  /** Whether a memory fills the stages behind it for tokens that leave there: `Slots.fill`. */
  readonly remembers: boolean;
  /** Whether it also reads the tokens of the text that its shortlist lacks: readouts/unlisted.ts. */
  readonly readsUnlisted: boolean;
}

/** A token of some slots. */
export interface Place {
  readonly row: number;
  readonly position: number;
}

export interface RunOptions {
  /**
   * The last of several stages that run together; default: the given stage alone. Each is the parent of the next, and all have run equally
   * many tokens.
   */
  readonly last?: number;
  /** The final exit is read only for the last token of a row: what only other tokens would need is not computed. */
  readonly lastOnly?: boolean;
}

/**
 * Keys, values and the stream behind every stage for some sequences, one row each. The one invariant, for every row and stage: it has never
 * run more tokens than its parent has. A token that left early has nothing behind its exit's stage. It goes through the later stages
 * together with the next token that goes deeper, so that nothing is computed twice and nothing is approximated; or, on request, the exit's
 * memory fills those stages for it.
 */
export interface Slots extends RowChanges {
  /** How far its rows are. */
  readonly progress: Progress;
  readonly rows: number;
  /** Tokens of a row that have entered the model. */
  entered(row: number): number;
  /** Tokens of a row that a stage has run. */
  ran(stage: number, row: number): number;
  /** Tokens of a row that wait for a stage: those that its parent has run and it has not. */
  waiting(stage: number, row: number): number;
  /** Whether a row's tokens from `position` on can be read at the final exit, once they have run there: see `RunOptions.lastOnly`. */
  isReadable(row: number, position: number): boolean;
  /** Runs a stage for the next `counts[row]` tokens of every row; its parent must have run them. If it fails, none of them is run. */
  run(stage: number, counts: readonly number[], options?: RunOptions): Promise<void>;
  /**
   * Fills the stages behind exit k, which `remembers`, for tokens that its stage has run and later stages have not. What a later pass
   * computes for such a token is not kept.
   */
  fill(k: number, places: readonly Place[]): Promise<void>;
  /** Readouts of exit k for the last `counts[i]` tokens that its stage has run in row `rows[i]`, or that end before `ends[i]`. */
  read(k: number, rows: readonly number[], counts: readonly number[], options: ReadOptions): Promise<RowReadout[]>;
  /** Readouts of exit k at single places, which its stage has run. */
  readAt(k: number, places: readonly Place[]): Promise<readonly Readout[]>;
  /** The stream behind a stage at one position; valid until the slots change. */
  state(stage: number, row: number, position: number): Float32Array;
  /** Keys and values of an attention: `[ran, kvHeads · headDimensions]` each. For tests and measurements. */
  pastRows(slot: string, row: number): { key: Float32Array; value: Float32Array };
  dispose(): void;
}

export interface ReadOptions {
  readonly logits: boolean;
  readonly ends?: readonly number[];
}

export interface StagedModel {
  readonly spec: ModelSpec;
  readonly stages: readonly StageSpec[];
  /** In the order of the stream; the final exit is last. */
  readonly exits: readonly ExitPoint[];
  openSlots(rows: number): Slots;
  dispose(): Promise<void>;
}

/** Attention looks at keys in steps of this many positions, so that one graph serves many tokens. */
export const keyStep = 256;

/** Positions that every row has if one row needs `positions`: steps that double, so that a growing text is seldom moved. */
export const capacityFor = (positions: number): number =>
  keyStep * 2 ** Math.max(0, Math.ceil(Math.log2(positions / keyStep)));

/**
 * Bytes of one position: keys and values of every attention (four bytes a number in exact arithmetic, else two), the stream behind every
 * stage and the embedding.
 */
export function positionBytes({ spec, stages }: Pick<StagedModel, 'spec' | 'stages'>, isExact: boolean): number {
  const elementBytes = isExact ? 4 : 2;
  const attentions = stages.reduce((sum, { slots }) => sum + slots.length, 0);
  const streams = stages.reduce((sum, { to }) => sum + cutWidth(spec, to), spec.hidden);
  return 2 * attentions * spec.kvHeads * spec.headDimensions * elementBytes + 4 * streams;
}

/** Positions for which so many bytes suffice. */
export const positionsWithin = (bytes: number, model: Pick<StagedModel, 'spec' | 'stages'>, isExact: boolean): number =>
  Math.floor(bytes / positionBytes(model, isExact));

/** Number of layers by which the cost of a stage is estimated. */
export const stageLayers = ({ from, to }: StageSpec): number => Math.max(0.5, to.layer - from.layer);

/** How many stages the trunk has. */
export const trunkLength = ({ exits }: Pick<StagedModel, 'exits'>): number => exits.at(-1)!.stages;

/** The branch whose end an exit reads; null if it reads the trunk. */
export const branchOf = ({ reads, stages }: ExitPoint): number | null => (reads >= stages ? reads : null);

/** A frozen backbone that only yields its stream at some cuts: what tuning needs. */
export interface FeatureModel {
  readonly spec: ModelSpec;
  readonly cuts: readonly Cut[];
  /** Layers, counted from 1: the keys (before their norm and rotation) and values of their attentions are returned, too. */
  readonly entries?: readonly number[];
  /**
   * Full sequences ids `[batch, tokens]` → the stream at each cut `[batch, tokens, width]`, in the order of `cuts`, and keys and values
   * `[batch, tokens, kvHeads · headDimensions]` in that of `entryNames(entries)`. Stops at the deepest cut.
   */
  features(ids: Int32Array, batch: number, tokens: number): Promise<Float32Array[]>;
  dispose(): Promise<void>;
}

/** What keys and values of these layers are called beside the streams at cuts. */
export const entryNames = (layers: readonly number[]): string[] =>
  layers.flatMap((layer) => [`${layer}.keys`, `${layer}.values`]);

/** An exit's scores of known text, per position. */
export interface Scores {
  /** −log probability of the target class, nats. */
  readonly loss: Float32Array;
  /** Best real token. */
  readonly token: Int32Array;
  /** Its probability. */
  readonly confidence: Float32Array;
  /** True if a shortlist's defer class won. */
  readonly deferred: readonly boolean[];
}

export interface ExitScorer {
  /** `value`: the stream at the exit's cut `[batch, tokens, width]`; `targets`: class numbers (a shortlist's last is defer). */
  score(value: Float32Array, targets: ArrayLike<number>, batch: number, tokens: number): Promise<Scores>;
  dispose(): Promise<void>;
}

/** What the final exit says of known text, per position. */
export interface Teaching {
  /** −log probability of the target, nats; of any token where there is no target. */
  readonly surprise: Float32Array;
  /** Of each list of tokens, log probabilities of those outside it and of those in it: `[positions, 2]`. */
  readonly shares: readonly Float32Array[];
}

export interface TeacherModel {
  /** `final`: the normed final state `[positions, hidden]`; `targets`: token ids, negative if there is none. */
  teach(final: Float32Array, targets: Int32Array): Promise<Teaching>;
  dispose(): Promise<void>;
}
