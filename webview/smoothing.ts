/** Smoothing and thinning of curves. Pure. */

type Column = readonly (number | null)[];

/**
 * Exponential moving average with the start's bias taken out (as Adam does): y_t = (1 − β)·Σ β^(t−i)·x_i / (1 − β^t).
 * Gaps stay gaps. β from 0 (nothing) to below 1.
 */
export const smooth = (values: Column, beta: number): (number | null)[] =>
  extendSmoothing(startSmoothing(beta), values);

/**
 * The same for a column that only grows: what was computed before is kept with it, so that a new point costs one step and
 * not the whole column. Another array is another column.
 */
export function smoothGrowing(values: Column, beta: number): readonly (number | null)[] {
  let state = kept.get(values);
  if (!state || state.beta !== beta || state.smoothed.length > values.length) {
    state = startSmoothing(beta);
    kept.set(values, state);
  }
  return extendSmoothing(state, values);
}

interface Smoothing {
  readonly beta: number;
  readonly smoothed: (number | null)[];
  mean: number;
  weight: number;
}

const kept = new WeakMap<Column, Smoothing>();

const startSmoothing = (beta: number): Smoothing => ({ beta, smoothed: [], mean: 0, weight: 0 });

function extendSmoothing(state: Smoothing, values: Column): (number | null)[] {
  const { beta, smoothed } = state;
  for (let i = smoothed.length; i < values.length; i++) {
    const value = values[i] ?? null;
    if (value !== null) {
      state.mean = beta * state.mean + (1 - beta) * value;
      state.weight = beta * state.weight + (1 - beta);
    }
    smoothed.push(value === null ? null : state.mean / state.weight);
  }
  return smoothed;
}

/**
 * Indices of a table, `[start, end)`, that keep every column's smallest and largest value of each of `buckets` stretches,
 * and both ends: drawn at one stretch a pixel it looks like all points. Ascending.
 */
export function thin(columns: readonly Column[], start: number, end: number, buckets: number): number[] {
  const count = end - start;
  if (count <= 2 * buckets) return Array.from({ length: Math.max(0, count) }, (_, i) => start + i);
  const kept = new Set<number>([start, end - 1]);
  for (let bucket = 0; bucket < buckets; bucket++) {
    const from = start + Math.floor((bucket * count) / buckets);
    const to = start + Math.floor(((bucket + 1) * count) / buckets);
    for (const column of columns) {
      let low = -1;
      let high = -1;
      for (let i = from; i < to; i++) {
        const value = column[i];
        if (value === null || value === undefined) continue;
        if (low < 0 || value < column[low]!) low = i;
        if (high < 0 || value > column[high]!) high = i;
      }
      if (low >= 0) kept.add(low).add(high);
    }
  }
  return [...kept].sort((a, b) => a - b);
}
