/** The interface of the tuning step to an engine that differentiates and updates. */
import type { PlannedExit } from './plan.ts';
import type { StepBatch } from '../../features/features.ts';
import type { StepState } from '../../checkpoint/checkpoint.ts';

/** Sums over target tokens. */
export interface Sums {
  readonly loss: number;
  readonly crossEntropy: number;
  /** How much more surprised by the targets than the final exit; null unless distilling. */
  readonly gap: number | null;
}

/** Operations of an engine that a step needs. `G` is an exit's gradient, which its last user must dispose of. */
export interface StepEngine<G> {
  /** The sums of each exit of a group, and the gradient of its loss with its sum of squares. */
  differentiate(group: readonly PlannedExit[], batch: StepBatch): Promise<(Sums & { squares: number; gradient: G })[]>;
  /** total + factor · gradient, in place of both; `total` null is zero. */
  accumulate(total: G | null, gradient: G, factor: number): Promise<{ squares: number; gradient: G }>;
  /** AdamW with scale · gradient as update number `update` (from 1); uses the gradient up. */
  apply(exit: PlannedExit, gradient: G, scale: number, learningRate: number, update: number): Promise<void>;
  discard(gradient: G): void;
  state(): Promise<Omit<StepState, 'updates'>>;
  restore(state: StepState): Promise<void>;
  dispose(): Promise<void>;
}
