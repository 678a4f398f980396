/**
 * The start of an exit in closed form: ridge regression (ridge.ts) from the state its head reads to the model's normed final
 * state, for which the model's head was made. With little text, an exit stays near its copy. The
 * sums are tfjs functions that a step compiles. Knows no batches and no runtime.
 */
import * as tf from '@tensorflow/tfjs-core';
import { after } from '../autodiff/recorder.ts';
import { correction, transposed, type Multiply, type RegressionSums } from './ridge.ts';
import { architectures } from './architectures.ts';
import { exitPath, shortlistOf, type ExitSpec } from './spec.ts';

/** A head's matrix `[classes, size]`, and its bias `[classes]` if it has one. */
export interface FitHead<T> {
  readonly weight: T;
  readonly bias: T | null;
}

/**
 * The sums of some tokens. x `[tokens, size]`; residual `[tokens, columns]`: the difference between target and copy; weights `[tokens, 1]`:
 * 1 for tokens that count, else 0.
 */
export function regressionTensors(
  x: tf.Tensor,
  residual: tf.Tensor,
  weights: tf.Tensor,
): { xx: tf.Tensor; xr: tf.Tensor } {
  const counted = tf.mul(x, weights);
  return { xx: tf.matMul(counted, x, true, false), xr: tf.matMul(counted, residual, true, false) };
}

/** The log-sum-exp of a head's logits for each token: `[tokens, 1]`. */
export function headLogSum(x: tf.Tensor, head: FitHead<tf.Tensor>, softcap: number | null, chunk: number): tf.Tensor {
  return inChunks(x, chunk, (state) => logSumExp(headLogits(state, head, softcap)));
}

/** Sums of the tokens that a fit learns from, and of those kept apart, on which its strength is chosen. */
export interface SplitSums {
  readonly learned: RegressionSums;
  readonly apart: RegressionSums;
}

/** Operations of the machine that a fit needs: products and sums too large for JavaScript. */
export interface FitMachine {
  readonly multiply: Multiply;
  /** head · translator: `[rows, size]`. */
  fold(head: Float32Array, translator: Float32Array): Promise<Float32Array>;
  /**
   * Sums over some tokens on z (the head's input: x, or its translation) of the error of the defer class, the last row of `head` `[listed +
   * 1, size]`: its target is `headLogSum` of the others plus the model's log odds of *outside the list* against *listed*,
   * its value z · row (plus bias).
   */
  deferSums(head: FitHead<Float32Array>, translator: Float32Array | null): Promise<SplitSums>;
  /** Whether time is over. */
  readonly hurried: () => boolean;
}

/**
 * An exit's parameters after a fit, from those of a copy. With y ≈ x + xΔ a `lens` has the translator I + Δᵀ; any other head
 * reads x itself and becomes W·(I + Δᵀ).
 *
 * The defer class has no row in W. Its logit should exceed the log-sum-exp of the listed ones by the model's log odds. An exit
 * that can predict little has flatter logits than the model, so that log-sum-exp is taken from the exit's own fitted rows.
 * @throws Error if the sums are not finite.
 */
export async function fittedParameters(
  exit: ExitSpec,
  initial: ReadonlyMap<string, Float32Array>,
  { learned, apart }: SplitSums,
  machine: FitMachine,
): Promise<Map<string, Float32Array>> {
  const { size } = learned;
  const path = exitPath(exit);
  const { translates } = architectures[exit.architecture];
  const { delta, strength } = await correction(learned, apart, machine.multiply, machine.hurried);
  const fitted = new Map(initial);
  const translator = strength === Infinity ? null : plusIdentity(transposed(delta, size, size), size);
  const headName = `${path}.head.weight`;
  if (translator) {
    if (translates) fitted.set(`${path}.translator.weight`, translator);
    else fitted.set(headName, await machine.fold(initial.get(headName)!, translator));
  }
  if (!shortlistOf(exit)) return fitted;

  const head = fitted.get(headName)!.slice();
  const bias = initial.get(`${path}.head.bias`) ?? null;
  const sums = await machine.deferSums(
    { weight: head, bias },
    translates ? fitted.get(`${path}.translator.weight`)! : null,
  );
  const defer = await correction(sums.learned, sums.apart, machine.multiply, machine.hurried);
  defer.delta.forEach((value, i) => (head[head.length - size + i]! += value));
  return fitted.set(headName, head);
}

function plusIdentity(matrix: Float64Array, size: number): Float32Array {
  for (let i = 0; i < size; i++) matrix[i * size + i]! += 1;
  return Float32Array.from(matrix);
}

function inChunks(x: tf.Tensor, chunk: number, compute: (rows: tf.Tensor) => tf.Tensor): tf.Tensor {
  const [tokens, width] = x.shape as [number, number];
  const parts: tf.Tensor[] = [];
  for (let begin = 0; begin < tokens; begin += chunk) {
    const rows = tf.slice(after(x, parts.slice(-1)), [begin, 0], [Math.min(chunk, tokens - begin), width]);
    parts.push(tf.tidy(() => compute(rows)));
  }
  return tf.concat(parts, 0);
}

export function headLogits(state: tf.Tensor, { weight, bias }: FitHead<tf.Tensor>, softcap: number | null): tf.Tensor {
  const scores = tf.matMul(state, weight, false, true);
  const product = bias ? tf.add(scores, bias) : scores;
  return softcap === null ? product : tf.mul(tf.tanh(tf.mul(product, 1 / softcap)), softcap);
}

function logSumExp(logits: tf.Tensor): tf.Tensor {
  const max = tf.max(logits, -1, true);
  return tf.add(tf.log(tf.sum(tf.exp(tf.sub(logits, max)), -1, true)), max);
}
