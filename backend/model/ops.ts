/**
 * The primitives in which the mathematics of a model and of its exits is written. They have two interpreters: ggml/ turns
 * them into ggml's operators, autodiff/ into TensorFlow.js's. `T` is a value `[batch, tokens, width]`.
 *
 * A parameter is named by the *path* of its module (`layers.3.self_attn.q_proj`); an interpreter resolves
 * `<path>.weight` `[out, in]` and, if it exists, `<path>.bias` `[out]` in its own table. So biases are data.
 */
import type { Activation, LayerSpec, MixtureSpec, ModelSpec, NormSpec, RopeSpec } from './spec.ts';

export interface Ops<T> {
  /** x·Wᵀ + b. */
  linear(x: T, path: string): T;
  /** Several linears of one input, which an interpreter may run as one. */
  linears(x: T, paths: readonly string[]): T[];
  norm(x: T, path: string, norm: NormSpec): T;
  /** `sum = x + delta`, `normed = norm(sum)`: one fused node if the runtime has it. */
  addNorm(x: T, delta: T, path: string, norm: NormSpec): { sum: T; normed: T };
  /**
   * Norm of every head separately; x `[batch, tokens, heads · headDimensions]`, gain `[headDimensions]` if it is shared, `[heads ·
   * headDimensions]` if each head has its own.
   */
  headNorm(x: T, path: string, heads: number, norm: NormSpec, gains: 'shared' | 'each'): T;
  /** Rotates every head by the angles of `rope`, and multiplies the rotated part by its factors. */
  rotary(x: T, heads: number, headDimensions: number, rope: RopeSpec): T;
  /**
   * Causal attention of q `[batch, tokens, heads · d]` over the past and the new k, v `[batch, tokens, kvHeads · d]`;
   * `slot` names the cache that holds this attention's past. Training has no past. `sinks`: the path of a parameter `[heads]`.
   */
  attention(q: T, k: T, v: T, spec: ModelSpec, layer: LayerSpec, slot: string, sinks?: string | null): T;
  /** Called with every attention's keys, before their norm and rotation, and values, for fitting memories. */
  entries?(slot: string, keys: T, values: T): void;
  activation(x: T, kind: Activation): T;
  /**
   * What a mixture of experts at `path` gives for x: the router is `<path>.gate`, experts are `<path>.experts.gate_proj.weight`
   * `[experts, out, in]` and so on. Absent if nothing computes mixtures: exits have none, and their backbones run in ggml.
   */
  mixture?(x: T, path: string, mixture: MixtureSpec, activation: Activation): T;
  add(a: T, b: T): T;
  mul(a: T, b: T): T;
  scale(x: T, factor: number): T;
  /** cap · tanh(x / cap). */
  softcap(x: T, cap: number): T;
  /** Splits the last axis into two halves / joins them: the stream of a parallel-residual `attention` cut. */
  halves(x: T): [T, T];
  concat(a: T, b: T): T;
}
