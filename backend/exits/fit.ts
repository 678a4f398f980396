/**
 * The start of an exit in closed form: ridge regression from the state its head reads to the model's normed final state, for
 * which the model's head was made (DESIGN: `fit`). The sums are tfjs functions that a step compiles; the solution is
 * float64. Knows no batches and no runtime.
 */
import * as tf from '@tensorflow/tfjs-core';
import { after } from '../autodiff/recorder.ts';
import { exitPath, type ExitSpec } from './spec.ts';

/** Sums over tokens of a regression on x; row-major. */
export interface RegressionSums {
  readonly size: number;
  /** Σ xᵀx: `[size, size]`. */
  readonly xx: Float64Array;
  /** Σ xᵀy, y the normed final state: `[size, size]`. */
  readonly xy: Float64Array;
  /** Σ xᵀt, t a number for each token: `[size]`. */
  readonly xt: Float64Array;
}

/** λ as a share of the mean of the diagonal of Σxᵀx. */
export const defaultRidge = 1e-3;

/** Added to a logit, it vanishes from a sum of exponentials. */
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
 * The sums of one batch. x `[tokens, hidden]`: the exit's state; y `[tokens, hidden]`: the normed final state; t
 * `[tokens, 1]`; weights `[tokens, 1]`: 1 for tokens that count, else 0.
 */
export function regressionTensors(
  x: tf.Tensor,
  y: tf.Tensor | null,
  t: tf.Tensor | null,
  weights: tf.Tensor,
): Record<string, tf.Tensor> {
  const counted = tf.mul(x, weights);
  return {
    xx: tf.matMul(counted, x, true, false),
    ...(y && { xy: tf.matMul(counted, y, true, false) }),
    ...(t && { xt: tf.matMul(counted, t, true, false) }),
  };
}

/**
 * The model's log odds of *outside the list* against *listed* for each token, `[tokens, 1]`, in chunks of tokens. `listed`
 * `[1, vocabulary]` is `shortlistMask`.
 */
export function deferLogOdds(
  final: tf.Tensor,
  head: tf.Tensor,
  listed: tf.Tensor,
  softcap: number | null,
  chunk: number,
): tf.Tensor {
  return inChunks(final, chunk, (state) => {
    const logits = headLogits(state, head, softcap);
    return tf.sub(logSumExp(tf.add(logits, listed)), logSumExp(tf.add(logits, tf.sub(masked, listed))));
  });
}

/** The log-sum-exp of a head's logits for each token: `[tokens, 1]`. */
export function headLogSum(x: tf.Tensor, head: tf.Tensor, softcap: number | null, chunk: number): tf.Tensor {
  return inChunks(x, chunk, (state) => logSumExp(headLogits(state, head, softcap)));
}

export function shortlistMask(tokens: readonly number[], vocabulary: number): Float32Array {
  const mask = new Float32Array(vocabulary);
  for (const token of tokens) mask[token] = masked;
  return mask;
}

/** What a fit asks of the machine: products and sums too large for JavaScript. */
export interface FitMachine {
  /** head · translator: `[rows, size]`. */
  fold(head: Float32Array, translator: Float32Array): Promise<Float32Array>;
  /** Sums over some tokens of the text, t being `headLogSum` of these rows `[listed, size]`. */
  logSums(rows: Float32Array): Promise<Pick<RegressionSums, 'xx' | 'xt'>>;
}

/**
 * An exit's parameters after a fit, from those of a copy. With y ≈ x·A, a `lens` has the translator Aᵀ; any other head reads x
 * itself and becomes W·Aᵀ.
 *
 * The defer class has no row in W. Its logit should exceed the log-sum-exp of the listed ones by the model's log odds (t of
 * `sums`). An exit that can predict little has flatter logits than the model, so that log-sum-exp is taken from the exit's own
 * fitted rows; both terms are regressed on x.
 * @throws Error where the sums are not finite.
 */
export async function fittedParameters(
  exit: ExitSpec,
  initial: ReadonlyMap<string, Float32Array>,
  sums: RegressionSums,
  ridge: number,
  machine: FitMachine,
): Promise<Map<string, Float32Array>> {
  const { size, xx, xy, xt } = sums;
  const path = exitPath(exit);
  const isLens = exit.architecture === 'lens';
  const map = solveRidge(xx, xy, size, size, ridge);
  const translator = Float32Array.from(transposed(map, size));
  const fitted = new Map(initial);
  if (isLens) fitted.set(`${path}.translator.weight`, translator);
  if (isLens && exit.head.kind !== 'shortlist') return fitted;

  const name = `${path}.head.weight`;
  const copied = initial.get(name)!;
  const folded = await machine.fold(copied, translator);
  if (exit.head.kind !== 'shortlist') return fitted.set(name, folded);

  const listed = folded.subarray(0, folded.length - size);
  const own = await machine.logSums(listed);
  const above = solveRidge(xx, xt, size, 1, ridge);
  const defer = solveRidge(own.xx, own.xt, size, 1, ridge).map((value, i) => value + above[i]!);
  // The head of a lens reads z = x·A: its row d has z·d nearest to x·defer, (Aᵀ Σxᵀx A) d = Aᵀ Σxᵀx defer.
  const row = isLens ? solveRidge(...onTranslated(map, xx, defer, size), size, 1, ridge) : defer;
  const head = Float32Array.from(isLens ? copied : folded);
  head.set(Float32Array.from(row), head.length - size);
  return fitted.set(name, head);
}

function onTranslated(
  map: Float64Array,
  xx: Float64Array,
  defer: Float64Array,
  size: number,
): [Float64Array, Float64Array] {
  const left = multiply(transposed(map, size), xx, size, size);
  return [multiply(left, map, size, size), multiply(left, defer, size, 1)];
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

function headLogits(state: tf.Tensor, head: tf.Tensor, softcap: number | null): tf.Tensor {
  const product = tf.matMul(state, head, false, true);
  return softcap === null ? product : tf.mul(tf.tanh(tf.mul(product, 1 / softcap)), softcap);
}

function logSumExp(logits: tf.Tensor): tf.Tensor {
  const max = tf.max(logits, -1, true);
  return tf.add(tf.log(tf.sum(tf.exp(tf.sub(logits, max)), -1, true)), max);
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
