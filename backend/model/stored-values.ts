/**
 * Our parameters as parts of the tensors that the model's own files have, in both directions: values out of them, and gradients added into them.
 * A tensor may be several parameters (q, k and v in one matrix), and a parameter may be shared (a head that is the embedding).
 */
import type { ParameterPlace } from './sources.ts';

/** By the names of the files, in float32, as they are stored. */
export type StoredValues = ReadonlyMap<string, Float32Array>;

/** The values of a parameter of this shape; if it is one tensor as it is stored, the tensor itself, not a copy. */
export function takeParameter(place: ParameterPlace, shape: readonly number[], stored: StoredValues): Float32Array {
  const joined = joinedOf(place, stored);
  if (!place.rows && !isTurned(place, shape)) return joined;
  const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
  eachPlace(place, shape, joined.length, (own, other) => (values[own] = joined[other]!));
  return values;
}

/** Adds what belongs to a parameter (its gradient) to the tensors that it is of. */
export function giveParameter(
  place: ParameterPlace,
  shape: readonly number[],
  values: Float32Array,
  into: StoredValues,
): void {
  const parts = place.tensors.map((tensor) => storedOf(into, tensor));
  const total = parts.reduce((sum, { length }) => sum + length, 0);
  const size = total / parts.length;
  const [only] = parts as [Float32Array];
  if (parts.length === 1) eachPlace(place, shape, total, (own, other) => (only[other]! += values[own]!));
  else
    eachPlace(place, shape, total, (own, other) => (parts[Math.trunc(other / size)]![other % size]! += values[own]!));
}

function joinedOf({ tensors }: ParameterPlace, stored: StoredValues): Float32Array {
  const parts = tensors.map((tensor) => storedOf(stored, tensor));
  if (parts.length === 1) return parts[0]!;
  const joined = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

function storedOf(stored: StoredValues, tensor: string): Float32Array {
  const values = stored.get(tensor);
  if (!values) throw new Error(`there are no values of the tensor ${tensor}`);
  return values;
}

const isTurned = ({ transposed }: ParameterPlace, shape: readonly number[]): boolean =>
  transposed === true && shape.length > 1;

/** Every number of a parameter with its place among the `total` numbers that are stored, row by row. */
function eachPlace(
  place: ParameterPlace,
  shape: readonly number[],
  total: number,
  visit: (own: number, stored: number) => void,
): void {
  const columns = shape.length === 1 ? 1 : shape[1]!;
  const rowsStored = total / columns;
  const turned = isTurned(place, shape);
  for (let r = 0; r < shape[0]!; r++) {
    const row = place.rows ? place.rows[r]! : r;
    for (let c = 0; c < columns; c++) visit(r * columns + c, turned ? c * rowsStored + row : row * columns + c);
  }
}
