/**
 * Ridge regression towards what is there already: of a first guess g(x) at y it finds the correction Δ that makes
 * Σ‖y − g(x) − xΔ‖² + λ‖Δ‖² least, so that without tokens there is no correction and with many it is least squares.
 * λ is what does best on tokens kept apart. Knows no exits; large products are the machine's.
 */

/** Sums over tokens, of x `[size]` and of r = y − g(x) `[columns]`; row-major. */
export interface RegressionSums {
  readonly size: number;
  readonly columns: number;
  /** Σ xᵀx: `[size, size]`. */
  readonly xx: Float64Array;
  /** Σ xᵀr: `[size, columns]`. */
  readonly xr: Float64Array;
}

export const emptySums = (size: number, columns: number): RegressionSums => ({
  size,
  columns,
  xx: new Float64Array(size * size),
  xr: new Float64Array(size * columns),
});

/** a `[rows, inner]` · b `[inner, columns]`. */
export type Multiply = (
  a: Float64Array,
  b: Float64Array,
  rows: number,
  inner: number,
  columns: number,
) => Promise<Float64Array>;

export interface Correction {
  /** `[size, columns]`. */
  readonly delta: Float64Array;
  /** λ as a share of the mean of the diagonal of Σxᵀx; infinite where no correction does better than any. */
  readonly strength: number;
}

/** Steps between strengths that are tried; a third of one costs less than a hundredth of the error. */
const stride = Math.sqrt(10);
/** Where the search begins: of SmolLM2 and Qwen2.5-Coder what is best lies at 0.03 to 1 for 256 to 3,000 tokens. */
const first = 0.1;
const weakest = 1e-9;
const strongest = 1e3;
/** Without tokens apart: it made all exits better that were looked at, from 256 tokens on. */
const cautious = 1;

/**
 * The correction from all sums, its strength chosen on those apart. `hurried`: time is over, and the best strength so far is
 * taken.
 * @throws Error where the sums are not finite.
 */
export async function correction(
  learned: RegressionSums,
  apart: RegressionSums,
  multiply: Multiply,
  hurried: () => boolean = () => false,
): Promise<Correction> {
  const { size, columns } = learned;
  const none: Correction = { delta: new Float64Array(size * columns), strength: Infinity };
  const all = added(learned, apart);
  if (diagonal(all) === 0) return none;
  if (diagonal(apart) === 0) return { delta: await solve(all, cautious, multiply), strength: cautious };

  const attempt = async (strength: number): Promise<{ strength: number; gain: number }> => {
    const delta = await solve(learned, strength, multiply);
    return { strength, gain: await gainOf(delta, apart, multiply) };
  };
  let best = await attempt(first);
  for (const factor of [1 / stride, stride]) {
    let strength = first * factor;
    for (; strength > weakest && strength < strongest && !hurried(); strength *= factor) {
      const next = await attempt(strength);
      if (next.gain <= best.gain) break;
      best = next;
    }
    if (best.strength !== first) break;
  }
  if (!(best.gain > 0)) return none;
  return { delta: await solve(all, best.strength, multiply), strength: best.strength };
}

/** By how much a correction lowers Σ‖r‖²: Σ‖r‖² − Σ‖r − xΔ‖². */
async function gainOf(
  delta: Float64Array,
  { size, columns, xx, xr }: RegressionSums,
  multiply: Multiply,
): Promise<number> {
  const curved = await multiply(xx, delta, size, size, columns);
  let gain = 0;
  for (let i = 0; i < delta.length; i++) gain += delta[i]! * (2 * xr[i]! - curved[i]!);
  return gain;
}

/** (Σxᵀx + λI)⁻¹ Σxᵀr. Where rounding leaves the matrix not positive definite, λ grows tenfold until it is. */
export async function solve(sums: RegressionSums, strength: number, multiply: Multiply): Promise<Float64Array> {
  const { size, columns, xx, xr } = sums;
  for (let lambda = (strength * Math.max(diagonal(sums), 1e-30)) / size; Number.isFinite(lambda); lambda *= 10) {
    const raised = xx.slice();
    for (let i = 0; i < size; i++) raised[i * size + i]! += lambda;
    const inverse = await invert(raised, size, multiply);
    if (inverse) return multiply(inverse, xr, size, size, columns);
  }
  throw new Error('the sums of a fit are not finite');
}

function diagonal({ size, xx }: RegressionSums): number {
  let trace = 0;
  for (let i = 0; i < size; i++) trace += xx[i * size + i]!;
  if (!Number.isFinite(trace)) throw new Error('the sums of a fit are not finite');
  return trace;
}

const added = (a: RegressionSums, b: RegressionSums): RegressionSums => ({
  ...a,
  xx: a.xx.map((value, i) => value + b.xx[i]!),
  xr: a.xr.map((value, i) => value + b.xr[i]!),
});

/** Up to here a matrix is inverted in place; larger ones by their blocks. */
const smallest = 96;

/**
 * The inverse of a symmetric positive definite matrix, or null where it is none. With blocks P, Q, R, T = P⁻¹Q and the Schur
 * complement S = R − QᵀT it is [P⁻¹ + T S⁻¹ Tᵀ, −T S⁻¹; its transpose, S⁻¹], so nearly all of it is products.
 */
export async function invert(a: Float64Array, size: number, multiply: Multiply): Promise<Float64Array | null> {
  if (size <= smallest) return invertInPlace(a.slice(), size);
  const half = size >> 1;
  const rest = size - half;
  const p = await invert(block(a, size, 0, 0, half, half), half, multiply);
  if (!p) return null;
  const q = block(a, size, 0, half, half, rest);
  const t = await multiply(p, q, half, half, rest);
  const product = await multiply(transposed(q, half, rest), t, rest, half, rest);
  const s = await invert(
    block(a, size, half, half, rest, rest).map((value, i) => value - product[i]!),
    rest,
    multiply,
  );
  if (!s) return null;
  const u = await multiply(t, s, half, rest, rest);
  const corner = await multiply(u, transposed(t, half, rest), half, rest, half);
  const inverse = new Float64Array(size * size);
  const put = (row: number, column: number, columns: number, values: Float64Array): void => {
    for (let i = 0; i * columns < values.length; i++)
      inverse.set(values.subarray(i * columns, (i + 1) * columns), (row + i) * size + column);
  };
  put(
    0,
    0,
    half,
    p.map((value, i) => value + corner[i]!),
  );
  const side = u.map((value) => -value);
  put(0, half, rest, side);
  put(half, 0, half, transposed(side, half, rest));
  put(half, half, rest, s);
  return inverse;
}

/** Gauss and Jordan, without looking for pivots: those of a positive definite matrix are positive. */
function invertInPlace(a: Float64Array, size: number): Float64Array | null {
  for (let k = 0; k < size; k++) {
    const pivot = a[k * size + k]!;
    if (!(pivot > 0)) return null;
    a[k * size + k] = 1;
    for (let j = 0; j < size; j++) a[k * size + j]! /= pivot;
    for (let i = 0; i < size; i++) {
      const factor = a[i * size + k]!;
      if (i === k || factor === 0) continue;
      a[i * size + k] = 0;
      for (let j = 0; j < size; j++) a[i * size + j]! -= factor * a[k * size + j]!;
    }
  }
  return a;
}

function block(
  a: Float64Array,
  size: number,
  row: number,
  column: number,
  rows: number,
  columns: number,
): Float64Array {
  const part = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    const from = (row + i) * size + column;
    part.set(a.subarray(from, from + columns), i * columns);
  }
  return part;
}

export function transposed(matrix: Float64Array, rows: number, columns: number): Float64Array {
  const result = new Float64Array(matrix.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) result[j * rows + i] = matrix[i * columns + j]!;
  return result;
}
