/**
 * The start of an exit in closed form: ridge regression from the state its head reads to the model's normed final state, for
 * which the model's head was made (DESIGN: `fit`). The sums are tfjs functions that a step compiles; the solution is
 * float64. Knows no batches and no runtime.
 */
import * as tf from '@tensorflow/tfjs-core';
import { after } from '../autodiff/recorder.ts';
import { exitPath, type ExitSpec } from './spec.ts';

/** Sums over tokens of a regression of y on x; row-major. */
export interface RegressionSums {
  readonly size: number;
  /** Σ xᵀx: `[size, size]`. */
  readonly xx: Float64Array;
  /** Σ xᵀy: `[size, size]`. */
  readonly xy: Float64Array;
  /** Σ xᵀt, t the logit that the defer class should have: `[size]`. */
  readonly xt: Float64Array;
}

/** λ as a share of the mean of the diagonal of Σxᵀx. */
export const defaultRidge = 1e-3;

/** Added to the logits of listed tokens, so that they vanish from a sum of exponentials. */
const masked = -1e9;

export const emptySums = (size: number): RegressionSums => ({
  size,
  xx: new Float64Array(size * size),
  xy: new Float64Array(size * size),
  xt: new Float64Array(size),
});

/** Whether an exit has a place for what a fit finds: a translator, or a head of its own. */
export const isFitted = ({ architecture, head }: ExitSpec): boolean =>
  architecture === 'lens' || head.kind !== 'shared';

/**
 * The sums of one batch. x, y `[tokens, hidden]`: the exit's state and the normed final state; `targets` `[tokens, 1]`: the
 * defer class's logit; `weights` `[tokens, 1]`: 1 for tokens that count, else 0.
 */
export function regressionTensors(
  x: tf.Tensor,
  y: tf.Tensor,
  targets: tf.Tensor | null,
  weights: tf.Tensor,
): Record<'xx' | 'xy', tf.Tensor> & { xt?: tf.Tensor } {
  const counted = tf.mul(x, weights);
  return {
    xx: tf.matMul(counted, x, true, false),
    xy: tf.matMul(counted, y, true, false),
    ...(targets && { xt: tf.matMul(counted, targets, true, false) }),
  };
}

/**
 * What the defer class of a shortlist should say of each token: the log-sum-exp of the model's logits outside the list,
 * `[tokens, 1]`, in chunks of tokens. `listed` `[1, vocabulary]` is `shortlistMask`.
 */
export function deferTargets(
  final: tf.Tensor,
  head: tf.Tensor,
  listed: tf.Tensor,
  softcap: number | null,
  chunk: number,
): tf.Tensor {
  const [tokens, hidden] = final.shape as [number, number];
  const parts: tf.Tensor[] = [];
  for (let begin = 0; begin < tokens; begin += chunk) {
    const size = Math.min(chunk, tokens - begin);
    const state = tf.slice(after(final, parts.slice(-1)), [begin, 0], [size, hidden]);
    const part = tf.tidy(() => {
      const product = tf.matMul(state, head, false, true);
      const logits = softcap === null ? product : tf.mul(tf.tanh(tf.mul(product, 1 / softcap)), softcap);
      const outside = tf.add(logits, listed);
      const max = tf.max(outside, -1, true);
      return tf.add(tf.log(tf.sum(tf.exp(tf.sub(outside, max)), -1, true)), max);
    });
    parts.push(part);
  }
  return tf.concat(parts, 0);
}

export function shortlistMask(tokens: readonly number[], vocabulary: number): Float32Array {
  const mask = new Float32Array(vocabulary);
  for (const token of tokens) mask[token] = masked;
  return mask;
}

/** A fit's result for one exit: y ≈ x·A as a linear weight Aᵀ `[out, in]`, and the defer row for heads that read x. */
export interface FitSolution {
  readonly translator: Float32Array;
  /** For a head that reads x; of a `lens` with a shortlist, for one that reads the translated state. */
  readonly defer: Float32Array | null;
}

/**
 * Solves the regression of an exit.
 * @throws Error where no λ makes the sums positive definite: they are not finite.
 */
export function solveFit(exit: ExitSpec, sums: RegressionSums, ridge = defaultRidge): FitSolution {
  const { size, xx, xy, xt } = sums;
  const solution = solveRidge(xx, xy, size, size, ridge);
  const translator = transposed(solution, size);
  if (exit.head.kind !== 'shortlist') return { translator: Float32Array.from(translator), defer: null };
  if (exit.architecture !== 'lens') {
    return { translator: Float32Array.from(translator), defer: Float32Array.from(solveRidge(xx, xt, size, 1, ridge)) };
  }
  // The head reads z = x·A: Σzᵀz = Aᵀ(Σxᵀx)A and Σzᵀt = Aᵀ(Σxᵀt).
  const zz = multiply(multiply(translator, xx, size, size), solution, size, size);
  const zt = multiply(translator, xt, size, 1);
  return { translator: Float32Array.from(translator), defer: Float32Array.from(solveRidge(zz, zt, size, 1, ridge)) };
}

/**
 * The exit's parameters after a fit, from those of a copy: the translator of a `lens`, else folded into the head (W·Aᵀ: the
 * head then reads the untranslated state). `fold` multiplies `[rows, size]` by `[size, size]`.
 */
export async function fittedParameters(
  exit: ExitSpec,
  initial: ReadonlyMap<string, Float32Array>,
  { translator, defer }: FitSolution,
  fold: (head: Float32Array, translator: Float32Array) => Promise<Float32Array>,
): Promise<Map<string, Float32Array>> {
  const path = exitPath(exit);
  const fitted = new Map(initial);
  const headName = `${path}.head.weight`;
  if (exit.architecture === 'lens') fitted.set(`${path}.translator.weight`, translator);
  else fitted.set(headName, await fold(initial.get(headName)!, translator));
  if (defer) {
    const head = Float32Array.from(fitted.get(headName)!);
    head.set(defer, head.length - defer.length);
    fitted.set(headName, head);
  }
  return fitted;
}

/**
 * (A + λI)⁻¹ B by Cholesky, λ = ridge · mean diagonal of A: `[size, columns]`. Where rounding leaves A + λI not positive
 * definite, λ grows tenfold until it is.
 * @throws Error where A is not finite.
 */
export function solveRidge(
  a: Float64Array,
  b: Float64Array,
  size: number,
  columns: number,
  ridge: number,
): Float64Array {
  let trace = 0;
  for (let i = 0; i < size; i++) trace += a[i * size + i]!;
  if (!Number.isFinite(trace)) throw new Error('the sums of a fit are not finite');
  for (let lambda = (Math.max(ridge, 1e-12) * Math.max(trace, 1e-30)) / size; ; lambda *= 10) {
    const factor = cholesky(a, size, lambda);
    if (factor) return substitute(factor, b, size, columns);
    if (!Number.isFinite(lambda)) throw new Error('the sums of a fit are not finite');
  }
}

/** The lower factor L of A + λI, or null where a pivot is not positive. */
function cholesky(a: Float64Array, size: number, lambda: number): Float64Array | null {
  const factor = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    const row = i * size;
    for (let j = 0; j <= i; j++) {
      const other = j * size;
      let sum = a[row + j]! + (i === j ? lambda : 0);
      for (let k = 0; k < j; k++) sum -= factor[row + k]! * factor[other + k]!;
      if (i !== j) factor[row + j] = sum / factor[other + j]!;
      else if (sum > 0) factor[row + j] = Math.sqrt(sum);
      else return null;
    }
  }
  return factor;
}

/** Solves L·Lᵀ·X = B row by row, so that the inner loops run along memory. */
function substitute(factor: Float64Array, b: Float64Array, size: number, columns: number): Float64Array {
  const x = Float64Array.from(b);
  const subtract = (target: number, source: number, times: number): void => {
    for (let c = 0; c < columns; c++) x[target * columns + c]! -= times * x[source * columns + c]!;
  };
  const divide = (row: number): void => {
    const pivot = factor[row * size + row]!;
    for (let c = 0; c < columns; c++) x[row * columns + c]! /= pivot;
  };
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < i; k++) subtract(i, k, factor[i * size + k]!);
    divide(i);
  }
  for (let i = size - 1; i >= 0; i--) {
    for (let k = i + 1; k < size; k++) subtract(i, k, factor[k * size + i]!);
    divide(i);
  }
  return x;
}

function transposed(matrix: Float64Array, size: number): Float64Array {
  return Float64Array.from(matrix, (_, i) => matrix[(i % size) * size + Math.floor(i / size)]!);
}

function multiply(a: Float64Array, b: Float64Array, size: number, columns: number): Float64Array {
  const product = new Float64Array(size * columns);
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < size; k++) {
      const factor = a[i * size + k]!;
      for (let c = 0; c < columns; c++) product[i * columns + c]! += factor * b[k * columns + c]!;
    }
  }
  return product;
}
