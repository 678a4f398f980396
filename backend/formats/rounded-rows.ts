/**
 * Weights in seven bits and a sign with one scale a row, for products of many tokens (`MatMulIntegerToFloat`). Knows no graph.
 */
import { expandBlocks, type WeightBlocks } from './blocks.ts';

/** A weight `[rows, columns]`: `scale · quant`. */
export interface RoundedRows {
  /** `[columns, rows]`, within ±`largestRounded`. */
  readonly quants: Int8Array;
  /** `[rows]`. */
  readonly scales: Float32Array;
}

/** Processors without VNNI add two products of an unsigned and a signed byte in 16 bits, so a weight has seven: 2 · 255 · 63 fits. */
export const largestRounded = 63;

/** A weight as it is at hand: 32-bit floats, or blocks. */
export type Weight = Float32Array | WeightBlocks;

/** Rows and columns that are rounded at a time: their transposed writes stay near each other. */
const tile = 64;

/** Rounds a weight; a value that is not finite makes its row's scale so. */
export const roundRows = (weight: Weight, rows: number, columns: number): RoundedRows =>
  roundStacked([weight], rows, columns);

/** Rounds weights of `columns` columns, `rows` rows together, as if they were one. */
export function roundStacked(weights: readonly Weight[], rows: number, columns: number): RoundedRows {
  const rounded = { quants: new Int8Array(rows * columns), scales: new Float32Array(rows) };
  const scratch = new Float32Array(tile * columns);
  let at = 0;
  for (const weight of weights) {
    const count = lengthOf(weight) / columns;
    for (let first = 0; first < count; first += tile) {
      const last = Math.min(count, first + tile);
      const values = rowsOf(weight, first, last, columns, scratch);
      roundTile(values, last - first, columns, rounded, at + first);
    }
    at += count;
  }
  return rounded;
}

/** Values `[count, columns]` as rows `at` and following of `into`. */
function roundTile(values: Float32Array, count: number, columns: number, into: RoundedRows, at: number): void {
  const { quants, scales } = into;
  const rows = scales.length;
  const inverses = new Float64Array(count);
  for (let row = 0; row < count; row++) {
    const largest = largestOf(values, row * columns, (row + 1) * columns);
    scales[at + row] = largest / largestRounded;
    inverses[row] = largest > 0 ? 1 / scales[at + row]! : 0;
  }
  for (let left = 0; left < columns; left += tile) {
    const right = Math.min(columns, left + tile);
    for (let row = 0; row < count; row++) {
      const inverse = inverses[row]!;
      const from = row * columns;
      for (let column = left, to = left * rows + at + row; column < right; column++, to += rows) {
        // Cutting a positive number's fraction off is the fastest way to round.
        quants[to] = ((values[from + column]! * inverse + (largestRounded + 1.5)) | 0) - (largestRounded + 1);
      }
    }
  }
}

/** The largest magnitude; not a number where one is none. */
function largestOf(values: Float32Array, from: number, to: number): number {
  let highest = 0;
  let lowest = 0;
  let sum = 0;
  for (let i = from; i < to; i++) {
    const value = values[i]!;
    sum += value * 0;
    if (value > highest) highest = value;
    if (value < lowest) lowest = value;
  }
  return Math.max(highest, -lowest) + sum;
}

const lengthOf = (weight: Weight): number =>
  weight instanceof Float32Array ? weight.length : (weight.quants.length * 8) / weight.bits;

/** Rows `first` to `last` in floats: a view, or in `scratch`. */
function rowsOf(weight: Weight, first: number, last: number, columns: number, scratch: Float32Array): Float32Array {
  if (weight instanceof Float32Array) return weight.subarray(first * columns, last * columns);
  const values = scratch.subarray(0, (last - first) * columns);
  expandBlocks(weight, (first * columns) / weight.blockSize, values);
  return values;
}
