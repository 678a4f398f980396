/** Parameters in memory (an exit's), which take precedence over a model's own. */
import type { Parameters } from './parameters.ts';

export interface ParameterValues {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** The same parameters; the values of `remembered` stay in memory once they have been read. Callers must not change them. */
export function remembering(base: Parameters, remembered: string): Parameters {
  let values: Float32Array | null = null;
  return { ...base, values: (name) => (name === remembered ? (values ??= base.values(name)) : base.values(name)) };
}

export function overlayParameters(base: Parameters, overlay: ReadonlyMap<string, ParameterValues>): Parameters {
  return {
    has: (name) => overlay.has(name) || base.has(name),
    shape: (name) => overlay.get(name)?.shape ?? base.shape(name),
    values: (name) => overlay.get(name)?.data ?? base.values(name),
    rows(name, rows) {
      const own = overlay.get(name);
      if (!own) return base.rows(name, rows);
      const columns = own.shape[1]!;
      const out = new Float32Array(rows.length * columns);
      for (let i = 0; i < rows.length; i++)
        out.set(own.data.subarray(rows[i]! * columns, (rows[i]! + 1) * columns), i * columns);
      return out;
    },
    isInMemory: (name) => overlay.has(name) || base.isInMemory(name),
    storedType: (name) => (overlay.has(name) ? null : base.storedType(name)),
    stored: (name, allocate) => base.stored(name, allocate),
  };
}
