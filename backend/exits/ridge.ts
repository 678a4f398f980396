/**
 * Ridge regression towards a given estimate g(x) of y: it finds the correction Δ that minimises Σ‖y − g(x) − xΔ‖² + λ‖Δ‖². Without tokens
 * there is no correction; with many it is least squares. λ is the value that does best on tokens kept apart. Knows no exits; large products
 * are the machine's.
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
  /** λ as a share of the mean of the diagonal of Σxᵀx; infinite if every correction makes it worse. */
  readonly strength: number;
}

/** Columns from one to another, exclusive. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

export interface Corrections {
  /** `[size, columns]`. */
  readonly delta: Float64Array;
  /** Of each range, as in `Correction`. */
  readonly strengths: readonly number[];
  /** By how much what was learned lowers Σ‖r‖² of each range on the tokens apart. */
  readonly gains: readonly number[];
}

/** Steps between strengths that are tried; a third of one costs less than a hundredth of the error. */
const stride = Math.sqrt(10);
/** Start of the search: for SmolLM2 and Qwen2.5-Coder the best value is 0.03 to 1 with 256 to 3,000 tokens. */
const first = 0.1;
const weakest = 1e-9;
const strongest = 1e3;
/** The strength if no tokens were kept apart: with 256 tokens and more it improved every exit that was tried. */
const cautious = 1;

/**
 * The correction from all sums, its strength chosen on those apart. `hurried`: time is over, and the best strength so far is
 * taken.
 * @throws Error if the sums are not finite.
 */
export async function correction(
  learned: RegressionSums,
  apart: RegressionSums,
  multiply: Multiply,
  hurried?: () => boolean,
): Promise<Correction> {
  const all = [{ from: 0, to: learned.columns }];
  const { delta, strengths } = await corrections(learned, apart, all, multiply, hurried);
  return { delta, strength: strengths[0]! };
}

/** As `correction`, with a strength of its own for each of some ranges, which together are all columns. */
export async function corrections(
  learned: RegressionSums,
  apart: RegressionSums,
  ranges: readonly Range[],
  multiply: Multiply,
  hurried: () => boolean = () => false,
): Promise<Corrections> {
  const all = added(learned, apart);
  const same = (strength: number): Found[] => ranges.map(() => ({ strength, gain: 0 }));
  if (diagonal(all) === 0) return solved(all, ranges, same(Infinity), multiply);
  if (diagonal(apart) === 0) return solved(all, ranges, same(cautious), multiply);
  const found = await search(learned, apart, ranges, multiply, hurried);
  const helpful = found.map((each) => (each.gain > 0 ? each : { strength: Infinity, gain: 0 }));
  return solved(all, ranges, helpful, multiply);
}

/** A strength, and by how much what is learned with it lowers the error on the tokens apart. */
interface Found {
  readonly strength: number;
  readonly gain: number;
}

/** The best strength of each range: from the first one on in both directions, until the gain falls. */
async function search(
  learned: RegressionSums,
  apart: RegressionSums,
  ranges: readonly Range[],
  multiply: Multiply,
  hurried: () => boolean,
): Promise<Found[]> {
  const gains = async (strength: number, of: readonly Range[]): Promise<number[]> => {
    const delta = await solve(ofRanges(learned, of), strength, multiply);
    return gainsOf(delta, ofRanges(apart, of), of, multiply);
  };
  const best: Found[] = (await gains(first, ranges)).map((gain) => ({ strength: first, gain }));
  for (const factor of [1 / stride, stride]) {
    let strength = first * factor;
    // Ranges that improved in one direction are not searched in the other.
    let searching = [...ranges.keys()].filter((i) => best[i]!.strength === first);
    while (searching.length > 0 && strength > weakest && strength < strongest && !hurried()) {
      const tried = await gains(
        strength,
        searching.map((i) => ranges[i]!),
      );
      const found = searching.map((i, n) => ({ i, strength, gain: tried[n]! }));
      const better = found.filter(({ i, gain }) => gain > best[i]!.gain);
      for (const { i, ...each } of better) best[i] = each;
      searching = better.map(({ i }) => i);
      strength *= factor;
    }
  }
  return best;
}

/** The corrections of ranges from all sums, with these strengths. */
async function solved(
  sums: RegressionSums,
  ranges: readonly Range[],
  found: readonly Found[],
  multiply: Multiply,
): Promise<Corrections> {
  const { size, columns } = sums;
  const strengths = found.map(({ strength }) => strength);
  const delta = new Float64Array(size * columns);
  for (const strength of new Set(strengths)) {
    if (strength === Infinity) continue;
    const own = ranges.filter((_, n) => strengths[n] === strength);
    const part = await solve(ofRanges(sums, own), strength, multiply);
    for (let i = 0, at = 0; i < size; i++)
      for (const { from, to } of own) {
        delta.set(part.subarray(at, at + to - from), i * columns + from);
        at += to - from;
      }
  }
  return { delta, strengths, gains: found.map(({ gain }) => gain) };
}

/** Sums with some ranges of columns alone, one behind the other. */
function ofRanges(sums: RegressionSums, ranges: readonly Range[]): RegressionSums {
  const { size, columns, xr } = sums;
  const width = ranges.reduce((sum, { from, to }) => sum + to - from, 0);
  if (width === columns) return sums;
  const own = new Float64Array(size * width);
  for (let i = 0, at = 0; i < size; i++)
    for (const { from, to } of ranges) {
      own.set(xr.subarray(i * columns + from, i * columns + to), at);
      at += to - from;
    }
  return { ...sums, columns: width, xr: own };
}

/** By how much a correction lowers Σ‖r‖² of each range, whose columns lie one behind the other: Σ‖r‖² − Σ‖r − xΔ‖². */
async function gainsOf(
  delta: Float64Array,
  { size, columns, xx, xr }: RegressionSums,
  ranges: readonly Range[],
  multiply: Multiply,
): Promise<number[]> {
  const curved = await multiply(xx, delta, size, size, columns);
  let begin = 0;
  return ranges.map(({ from, to }) => {
    const end = begin + to - from;
    let gain = 0;
    for (let i = 0; i < size; i++)
      for (let at = i * columns + begin; at < i * columns + end; at++) gain += delta[at]! * (2 * xr[at]! - curved[at]!);
    begin = end;
    return gain;
  });
}

/** (Σxᵀx + λI)⁻¹ Σxᵀr. If rounding leaves the matrix not positive definite, λ grows tenfold until it is. */
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
 * The inverse of a symmetric positive definite matrix, or null if it is none. With blocks P, Q, R, T = P⁻¹Q and the Schur
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
