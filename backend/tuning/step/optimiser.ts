/**
 * AdamW and gradient clipping as pure functions over tensors, each a link of a chain: clip → moments → decay → step. They apply to tensors
 * of any shape; bias correction as in torch.optim.AdamW.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { OptimiserOptions } from './types.ts';

/** Parameters and their two moments; equal shapes. */
export interface AdamState {
  readonly parameter: tf.Tensor;
  readonly first: tf.Tensor;
  readonly second: tf.Tensor;
}

/** What changes from update to update, as scalars. */
export interface UpdateScalars {
  /** Factor on the gradient: clipping and averaging together. */
  readonly scale: tf.Tensor;
  /** lr / (1 − β1ᵗ). */
  readonly stepSize: tf.Tensor;
  /** 1 / √(1 − β2ᵗ). */
  readonly varianceScale: tf.Tensor;
  /** 1 − lr · weight decay, or 1 if nothing decays. */
  readonly keep: tf.Tensor;
}

/** Names of the scalars, in the order of `updateNumbers`. */
export const scalarNames = ['scale', 'stepSize', 'varianceScale', 'keep'] as const;

/** min(1, limit / (norm + 10⁻⁶)), as torch's clip_grad_norm_ has it. */
export const clipCoefficient = (norm: number, limit: number): number => Math.min(1, limit / (norm + 1e-6));

/** The scalars of update number `update`, which counts from 1. */
export function updateNumbers(
  options: OptimiserOptions,
  update: number,
  learningRate: number,
  scale: number,
  decays: boolean,
): Readonly<Record<(typeof scalarNames)[number], number>> {
  return {
    scale,
    stepSize: learningRate / (1 - options.beta1 ** update),
    varianceScale: 1 / Math.sqrt(1 - options.beta2 ** update),
    keep: decays ? 1 - learningRate * options.weightDecay : 1,
  };
}

/** Whether a parameter of this shape decays. */
export const decays = ({ decay }: OptimiserOptions, shape: readonly number[]): boolean =>
  decay === 'all' || shape.length > 1;

/** m ← β1·m + (1 − β1)·g and v ← β2·v + (1 − β2)·g². */
function moments(
  { beta1, beta2 }: OptimiserOptions,
  gradient: tf.Tensor,
  { first, second }: Pick<AdamState, 'first' | 'second'>,
): { first: tf.Tensor; second: tf.Tensor } {
  return {
    first: tf.add(tf.mul(first, beta1), tf.mul(gradient, 1 - beta1)),
    second: tf.add(tf.mul(second, beta2), tf.mul(tf.square(gradient), 1 - beta2)),
  };
}

/** One AdamW update from the gradient of a sum; `scalars` as of `updateNumbers`. */
export function adamW(
  options: OptimiserOptions,
  state: AdamState,
  gradient: tf.Tensor,
  { scale, stepSize, varianceScale, keep }: UpdateScalars,
): AdamState {
  const { first, second } = moments(options, tf.mul(gradient, scale), state);
  const spread = tf.add(tf.mul(tf.sqrt(second), varianceScale), options.epsilon);
  const step = tf.mul(tf.div(first, spread), stepSize);
  return { parameter: tf.sub(tf.mul(state.parameter, keep), step), first, second };
}
