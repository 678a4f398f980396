/** Smoothing and thinning of curves. Pure. */

type Column = readonly (number | null)[];

/**
 * Exponential moving average with the start's bias taken out (as Adam does): y_t = (1 − β)·Σ β^(t−i)·x_i / (1 − β^t).
 * Gaps stay gaps. β from 0 (nothing) to below 1.
 */
export function smooth(values: Column, beta: number): (number | null)[] {
  if (beta <= 0) return [...values];
  let mean = 0;
  let weight = 0;
  return values.map((value) => {
    if (value === null) return null;
    mean = beta * mean + (1 - beta) * value;
    weight = beta * weight + (1 - beta);
    return mean / weight;
  });
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
