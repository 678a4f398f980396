/** The records between the trainer and the step: its inputs, and losses and norms out. */
import type { StepState } from '../../checkpoint/checkpoint.ts';
import type { StepBatch } from '../../features/features.ts';
import type { Teaching } from '../../runtime/staged-model.ts';

export interface ObjectiveOptions {
  /** Weight of the cross-entropy with the true next token. */
  readonly crossEntropy: number;
  /** Weight of KL(final exit ‖ exit). Above 0 the batch must carry the final exit's state. */
  readonly distillation: number;
  /** `dynamic`: each token's loss times the exit's own detached max probability (EE-Tuning, token-wise). */
  readonly weighting: 'uniform' | 'dynamic';
}

export interface OptimiserOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Which parameters decay: matrices only (Megatron), or all. */
  readonly decay: 'matrices' | 'all';
  readonly gradientClip: number;
  /** `each`: every exit's own norm is clipped, so exits tuned together equal exits tuned alone. `joint`: the norm of all. */
  readonly clip: 'each' | 'joint';
}

export interface StepSettings {
  readonly learningRate: number;
  /** For the model's own parameters, if they are trained. */
  readonly backboneLearningRate?: number;
  /** Weight of each exit's loss in the total, by exit id. */
  readonly exitWeights: ReadonlyMap<string, number>;
}

export interface StepResult {
  /** Weighted mean loss of each exit before this update, by exit id. */
  readonly losses: ReadonlyMap<string, number>;
  /** Mean cross-entropy with the targets, whatever the exits learn from, by exit id. */
  readonly crossEntropies: ReadonlyMap<string, number>;
  /** Mean cross-entropy over the vocabulary minus the final exit's on the same tokens, by exit id; empty unless distilling. */
  readonly gaps: ReadonlyMap<string, number>;
  /** L2 norm of each exit's gradient before clipping, by exit id. */
  readonly gradientNorms: ReadonlyMap<string, number>;
}

/**
 * Loss, gradient and update of all exits. The compiled step (ONNX Runtime) and its eager twin (a tfjs backend) are the
 * same tfjs code. Gradient accumulation: `accumulate` the micro-batches of one update, then `update`; a lone `update` is one micro-batch.
 */
export interface TuningStep<Batch = StepBatch> {
  accumulate(batch: Batch, settings: StepSettings): Promise<StepResult>;
  update(batch: Batch, settings: StepSettings): Promise<StepResult>;
  /**
   * Trained parameters by name (`exits.8.mlp.norm.weight`), to read until the next update: of full heads a copy would take
   * more than a gigabyte.
   */
  state(): Promise<StepState>;
  restore(state: StepState): Promise<void>;
  dispose(): Promise<void>;
}

/** What exits are taught at each position of a batch that carries the final exit's state. */
export type Teach = (batch: StepBatch) => Promise<Teaching>;
