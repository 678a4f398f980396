/** The parameters of a model under our names, whatever their names and types in the checkpoint. Read on demand, never kept. */
import { userError } from '../../protocol/errors.ts';
import { blockInfo, dequantise } from '../formats/dequantise.ts';
import type { Allocate } from '../system/files.ts';
import type { TensorInfo, TensorSource, TensorType } from '../formats/tensor-source.ts';
import { elementCount, shorten } from '../formats/safetensors.ts';
import { expectedParameters, type ExpectedParameter } from './expected-parameters.ts';
import type { ParameterSource } from './families/family.ts';
import type { ModelSpec } from './spec.ts';

export interface Parameters {
  has(name: string): boolean;
  /** `[out, in]` of a matrix, `[n]` of a vector; experts are stacked by rows. */
  shape(name: string): readonly number[];
  /** All values in float32, row-major. */
  values(name: string): Float32Array;
  /** The chosen rows of a matrix in float32 `[rows.length, in]`; reads only those. */
  rows(name: string, rows: ArrayLike<number>): Float32Array;
  /** Whether it is in memory, as an exit's are, and in no file of the model. */
  isInMemory(name: string): boolean;
  /** Type of the matrix in the file, row by row; null if the file has no such matrix (it is transposed, or in memory). */
  storedType(name: string): TensorType | null;
  /** The bytes of such a matrix, its rows in our order; if it is one tensor in that order, in memory of `allocate`. */
  stored(name: string, allocate?: Allocate): Uint8Array;
}

interface Located {
  /** Joined row by row; a single tensor, except for experts and gains that are stored one by one. */
  readonly tensors: readonly TensorInfo[];
  readonly shape: readonly number[];
  /** Of the rows of all tensors, those that the parameter has, in its order; null: all. */
  readonly rows: Int32Array | null;
  readonly transposed: boolean;
}

/**
 * Finds every parameter of `spec` in a checkpoint and checks its shape. `needed`: which tensors must be one.
 * @throws UserError naming the file for a missing tensor, a wrong shape, or a needed tensor that is no parameter.
 */
export function locateParameters(
  spec: ModelSpec,
  source: TensorSource,
  find: (parameter: string, spec: ModelSpec) => ParameterSource | null,
  file: string,
  needed: (tensor: string) => boolean = () => false,
): Parameters {
  const located = new Map<string, Located>();
  for (const expected of expectedParameters(spec)) {
    const { name, optional } = expected;
    const found = locate(find(name, spec), source, expected);
    if (found === null) {
      if (!optional)
        throw userError(
          'bad-weights',
          `${file}: the tensor for "${name}" is missing.`,
          'The download may be incomplete; get the model again.',
        );
    } else if ('wanted' in found) {
      throw userError(
        'bad-weights',
        `${file}: "${found.key}" has shape [${found.has.join(', ')}], but the configuration says [${found.wanted.join(', ')}].`,
      );
    } else {
      located.set(name, found);
    }
  }
  refuseUnread(spec, source, located, file, needed);
  const embedding = located.get('embed_tokens.weight');
  if (embedding && (spec.tied || !located.has('lm_head.weight'))) located.set('lm_head.weight', embedding);
  const get = (name: string): Located => {
    const parameter = located.get(name);
    if (!parameter) throw new Error(`${file} has no parameter "${name}"`);
    return parameter;
  };
  return {
    has: (name) => located.has(name),
    shape: (name) => get(name).shape,
    values: (name) => finite(values(source, get(name)), name, file),
    rows: (name, rows) => readRows(source, get(name), rows),
    isInMemory: () => false,
    storedType: (name) => storedType(get(name)),
    stored: (name, allocate) => stored(source, get(name), allocate),
  };
}

/** A model that is computed without some of its weights says something else than it was trained to. */
function refuseUnread(
  { family }: ModelSpec,
  source: TensorSource,
  located: ReadonlyMap<string, Located>,
  file: string,
  needed: (tensor: string) => boolean,
): void {
  const read = new Set([...located.values()].flatMap(({ tensors }) => tensors.map(({ name }) => name)));
  const unread = [...source.tensors.keys()].find((tensor) => needed(tensor) && !read.has(tensor));
  if (unread !== undefined)
    throw userError(
      'unsupported',
      `${file}: "${shorten(unread)}" is no parameter of the family ${family}, so the model would be computed without it.`,
      'Choose another model.',
    );
}

/** The shape in the file, if it is not the parameter's; `key` is our name, or the tensor's if several tensors make a parameter. */
interface Mismatch {
  readonly key: string;
  readonly has: readonly number[];
  readonly wanted: readonly number[];
}

function locate(
  place: ParameterSource | null,
  source: TensorSource,
  expected: ExpectedParameter,
): Located | Mismatch | null {
  if (!place) return null;
  const { tensor, aliases = [], pieces, transposed = false } = place;
  const named = pieces ?? [[tensor, ...aliases].find((name) => source.tensors.has(name)) ?? tensor];
  const tensors = named.map((name) => source.tensors.get(name));
  if (!tensors.every((each) => each !== undefined))
    return place.otherwise ? locate(place.otherwise, source, expected) : null;
  const { name, shape, stacked } = expected;
  const wrong = stacked > 0 ? wrongPart(tensors, expected, place) : null;
  if (wrong) return wrong;
  const isJoined = pieces !== undefined || stacked > 0;
  const has = storedShape(tensors, shape.length, isJoined, transposed);
  const rows = place.rows ?? null;
  const taken = rows && rows.every((row) => row < has[0]!) ? [rows.length, ...has.slice(1)] : rows ? null : has;
  const fits = taken?.length === shape.length && taken.every((size, i) => size === shape[i]);
  return fits ? { tensors, shape, rows, transposed } : { key: name, has: taken ?? has, wanted: shape };
}

/** The tensor with a wrong shape, for a parameter of equal parts: either one tensor for each part, or one tensor with an axis of parts. */
function wrongPart(
  tensors: readonly TensorInfo[],
  { shape, stacked }: ExpectedParameter,
  { pieces, rows, rowsStored, transposed }: ParameterSource,
): Mismatch | null {
  const part = [shape[0]! / stacked, ...shape.slice(1)];
  if (rows) part[0] = rowsStored! / stacked;
  if (transposed) part.reverse();
  const wanted = pieces ? part : [stacked, ...part];
  const found = tensors.find((tensor) => tensor.shape.join() !== wanted.join());
  return found ? { key: found.name, has: found.shape, wanted } : null;
}

/** The shape that the tensors of a parameter have together: several are joined to one matrix or vector. */
function storedShape(
  tensors: readonly TensorInfo[],
  axes: number,
  isJoined: boolean,
  transposed: boolean,
): readonly number[] {
  const { shape } = tensors[0]!;
  if (!isJoined) return transposed ? [...shape].reverse() : shape;
  const elements = tensors.reduce((sum, tensor) => sum + elementCount(tensor.shape), 0);
  if (axes === 1) return [elements];
  const columns = shape.at(transposed ? -2 : -1)!;
  return [elements / columns, columns];
}

const columnsOf = (shape: readonly number[]): number => (shape.length === 1 ? 1 : shape[1]!);

function values(source: TensorSource, { tensors, shape, rows, transposed }: Located): Float32Array {
  const parts = tensors.map((tensor) => {
    const all = dequantise(tensor.type, source.read(tensor), elementCount(tensor.shape));
    return transposed && tensor.shape.length > 1 ? transposedEach(all, tensor.shape) : all;
  });
  const matrix = joined(parts);
  return rows ? selectRows(matrix, rows, columnsOf(shape)) : matrix;
}

/** Every matrix of the last two axes, transposed. */
function transposedEach(all: Float32Array, shape: readonly number[]): Float32Array {
  const [rows, columns] = shape.slice(-2) as [number, number];
  const size = rows * columns;
  if (all.length === size) return transpose(all, rows, columns);
  return joined(
    Array.from({ length: all.length / size }, (_, i) =>
      transpose(all.subarray(i * size, (i + 1) * size), rows, columns),
    ),
  );
}

function readRows(source: TensorSource, parameter: Located, rows: ArrayLike<number>): Float32Array {
  const { tensors, transposed, shape } = parameter;
  const columns = shape[1]!;
  if (transposed) return selectRows(values(source, parameter), rows, columns);
  const { elements, bytes } = blockInfo(tensors[0]!.type);
  const rowBytes = (columns / elements) * bytes;
  const perTensor = elementCount(tensors[0]!.shape) / columns;
  const out = new Float32Array(rows.length * columns);
  for (let i = 0; i < rows.length; i++) {
    const row = parameter.rows ? parameter.rows[rows[i]!]! : rows[i]!;
    const tensor = tensors[Math.trunc(row / perTensor)]!;
    const stored = source.read(tensor, (row % perTensor) * rowBytes, rowBytes);
    out.set(dequantise(tensor.type, stored, columns), i * columns);
  }
  return out;
}

function storedType({ tensors, shape, transposed }: Located): TensorType | null {
  const { type } = tensors[0]!;
  return shape.length === 2 && !transposed && tensors.every((tensor) => tensor.type === type) ? type : null;
}

function stored(source: TensorSource, { tensors, rows, shape }: Located, allocate?: Allocate): Uint8Array {
  const [first] = tensors as [TensorInfo];
  if (!rows && tensors.length === 1) return source.read(first, 0, first.bytes, allocate);
  const bytes = joined(tensors.map((tensor) => source.read(tensor)));
  if (!rows) return bytes;
  const { elements, bytes: blockBytes } = blockInfo(tensors[0]!.type);
  return selectRows(bytes, rows, (columnsOf(shape) / elements) * blockBytes);
}

function selectRows<T extends Float32Array | Uint8Array>(matrix: T, rows: ArrayLike<number>, columns: number): T {
  const out = new (matrix.constructor as new (length: number) => T)(rows.length * columns);
  for (let i = 0; i < rows.length; i++)
    out.set(matrix.subarray(rows[i]! * columns, (rows[i]! + 1) * columns), i * columns);
  return out;
}

function joined<T extends Float32Array | Uint8Array>(parts: readonly T[]): T {
  const [first] = parts as [T];
  if (parts.length === 1) return first;
  const all = new (first.constructor as new (length: number) => T)(parts.reduce((sum, { length }) => sum + length, 0));
  let start = 0;
  for (const part of parts) {
    all.set(part, start);
    start += part.length;
  }
  return all;
}

/** `[rows, columns]` → `[columns, rows]`, in tiles that fit the cache. */
export function transpose(matrix: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(matrix.length);
  const tile = 32;
  for (let r0 = 0; r0 < rows; r0 += tile) {
    for (let c0 = 0; c0 < columns; c0 += tile) {
      const r1 = Math.min(rows, r0 + tile);
      const c1 = Math.min(columns, c0 + tile);
      for (let r = r0; r < r1; r++) for (let c = c0; c < c1; c++) out[c * rows + r] = matrix[r * columns + c]!;
    }
  }
  return out;
}

function finite(data: Float32Array, name: string, file: string): Float32Array {
  // One sum finds a NaN or an infinity anywhere.
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += Math.abs(data[i]!);
  if (!Number.isFinite(sum)) {
    throw userError(
      'bad-weights',
      `${file}: "${name}" holds values that are not numbers.`,
      'The file is damaged; get the model again.',
    );
  }
  return data;
}
