/**
 * The parameters of a model by our names, whatever the checkpoint calls and stores them. Read when asked for, never kept.
 */
import { userError } from '../../protocol/errors.ts';
import {
  blockForm,
  blockInfo,
  dequantise,
  expandBlocks,
  toBlocks,
  type WeightBlocks,
} from '../formats/quantisation.ts';
import type { TensorInfo, TensorSource, TensorType } from '../formats/tensor-source.ts';
import type { ParameterSource } from './families/family.ts';
import type { ModelSpec } from './spec.ts';

export type BlockForm = Pick<WeightBlocks, 'bits' | 'blockSize' | 'zeroPoint'> & {
  /** Making these blocks rounds the weight: only for arithmetic that rounds anyway. */
  readonly rounds?: boolean;
};

export interface Parameters {
  has(name: string): boolean;
  /** `[out, in]` of a matrix, `[n]` of a vector. */
  shape(name: string): readonly number[];
  /** All values in float32, row-major. */
  values(name: string): Float32Array;
  /** The chosen rows of a matrix in float32 `[rows.length, in]`; reads only those. */
  rows(name: string, rows: ArrayLike<number>): Float32Array;
  /** What blocks the matrix is stored in; null where it is not quantised. */
  blockForm(name: string): BlockForm | null;
  /** The matrix in its own quantised blocks, where it has a block form. */
  blocks(name: string): WeightBlocks;
  /** How the file stores the matrix, row by row; null where it does not (it is transposed, or held in memory). */
  storedType(name: string): TensorType | null;
  /** The bytes of such a matrix, its rows in our order. */
  stored(name: string): Uint8Array;
}

interface Located {
  readonly tensor: TensorInfo;
  /** Tensors that follow it in the parameter; none where it is one tensor. */
  readonly more: readonly TensorInfo[];
  readonly shape: readonly number[];
  readonly rows: Int32Array | null;
  readonly transposed: boolean;
}

/**
 * Finds every parameter of `spec` in a checkpoint and checks its shape.
 * @throws UserError naming the file for a missing tensor or a wrong shape.
 */
export function locateParameters(
  spec: ModelSpec,
  source: TensorSource,
  find: (parameter: string, spec: ModelSpec) => ParameterSource | null,
  file: string,
): Parameters {
  const located = new Map<string, Located>();
  for (const { name, shape, optional } of expectedParameters(spec)) {
    const found = locate(find(name, spec), source, shape);
    if (found === 'absent') {
      if (!optional)
        throw userError(
          'bad-weights',
          `${file}: the tensor for "${name}" is missing.`,
          'The download may be incomplete; get the model again.',
        );
    } else if (Array.isArray(found)) {
      throw userError(
        'bad-weights',
        `${file}: "${name}" has shape [${found.join(', ')}], but the configuration says [${shape.join(', ')}].`,
      );
    } else {
      located.set(name, found as Located);
    }
  }
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
    values(name) {
      const parameter = get(name);
      // Of blocks it is the scales that can fail to be numbers, and repacking first is faster than one value after the other.
      if (!formOf(parameter)) return finite(values(source, parameter), name, file);
      return expanded(finiteBlocks(blocks(source, parameter, name), name, file), parameter.shape);
    },
    rows: (name, rows) => readRows(source, get(name), rows),
    blockForm: (name) => formOf(get(name)),
    blocks: (name) => blocks(source, get(name), name),
    storedType: (name) => (get(name).shape.length === 2 && !get(name).transposed ? get(name).tensor.type : null),
    stored: (name) => stored(source, get(name)),
  };
}

/** Every parameter of a model with its shape; biases (those of a LayerNorm too) and the output matrix of a tied model are optional. */
export function expectedParameters(spec: ModelSpec): { name: string; shape: number[]; optional: boolean }[] {
  const { hidden, feedForward, vocabulary } = spec;
  const q = spec.heads * spec.headDimensions;
  const kv = spec.kvHeads * spec.headDimensions;
  const isLayerNorm = spec.norm.kind === 'layer';
  const list: { name: string; shape: number[]; optional: boolean }[] = [];
  const matrix = (path: string, out: number, input: number, optional = false): void => {
    list.push(
      { name: `${path}.weight`, shape: [out, input], optional },
      { name: `${path}.bias`, shape: [out], optional: true },
    );
  };
  const norm = (path: string, size: number): void => {
    list.push({ name: `${path}.weight`, shape: [size], optional: false });
    if (isLayerNorm) list.push({ name: `${path}.bias`, shape: [size], optional: true });
  };
  list.push({ name: 'embed_tokens.weight', shape: [vocabulary, hidden], optional: false });
  if (spec.learnedPositions)
    list.push({ name: 'embed_positions.weight', shape: [spec.contextLength, hidden], optional: false });
  for (const i of spec.layers.keys()) {
    const path = `layers.${i}`;
    if (spec.normPlacement !== 'post') norm(`${path}.input_layernorm`, hidden);
    norm(`${path}.post_attention_layernorm`, hidden);
    if (spec.normPlacement === 'sandwich') norm(`${path}.pre_feedforward_layernorm`, hidden);
    if (spec.normPlacement !== 'pre') norm(`${path}.post_feedforward_layernorm`, hidden);
    matrix(`${path}.self_attn.q_proj`, q, hidden);
    matrix(`${path}.self_attn.k_proj`, kv, hidden);
    matrix(`${path}.self_attn.v_proj`, kv, hidden);
    matrix(`${path}.self_attn.o_proj`, hidden, q);
    if (spec.qkNorm !== 'none') {
      norm(`${path}.self_attn.q_norm`, spec.qkNorm === 'head' ? spec.headDimensions : q);
      norm(`${path}.self_attn.k_norm`, spec.qkNorm === 'head' ? spec.headDimensions : kv);
    }
    if (spec.mlp === 'gated') matrix(`${path}.mlp.gate_proj`, feedForward, hidden);
    matrix(`${path}.mlp.up_proj`, feedForward, hidden);
    matrix(`${path}.mlp.down_proj`, hidden, feedForward);
  }
  norm('norm', hidden);
  matrix('lm_head', vocabulary, hidden, spec.tied);
  return list;
}

function locate(
  place: ParameterSource | null,
  source: TensorSource,
  shape: readonly number[],
): Located | readonly number[] | 'absent' {
  if (!place) return 'absent';
  const name = [place.tensor, ...(place.aliases ?? [])].find((candidate) => source.tensors.has(candidate));
  const tensor = name === undefined ? undefined : source.tensors.get(name);
  if (!tensor) return 'absent';
  const transposed = place.transposed ?? false;
  const pieces = place.pieces?.map((piece) => source.tensors.get(piece));
  if (pieces && !pieces.every((piece) => piece !== undefined)) return 'absent';
  const elements = ({ shape: sizes }: TensorInfo): number => sizes.reduce((a, b) => a * b, 1);
  const stored = pieces
    ? [pieces.reduce((sum, piece) => sum + elements(piece), 0)]
    : transposed
      ? [...tensor.shape].reverse()
      : [...tensor.shape];
  const rows = place.rows ?? null;
  const available = stored[0]!;
  if (rows) {
    if (rows.some((row) => row >= available)) return stored;
    stored[0] = rows.length;
  }
  if (stored.length !== shape.length || stored.some((size, i) => size !== shape[i])) return stored;
  return { tensor, more: pieces?.slice(1) ?? [], shape, rows, transposed };
}

function values(source: TensorSource, { tensor, more, shape, rows, transposed }: Located): Float32Array {
  const read = (one: TensorInfo): Float32Array =>
    dequantise(
      one.type,
      source.read(one),
      one.shape.reduce((a, b) => a * b, 1),
    );
  const stored = more.length ? Float32Array.from([tensor, ...more].flatMap((one) => [...read(one)])) : read(tensor);
  const columns = shape.length === 1 ? 1 : transposed ? tensor.shape[0]! : tensor.shape[1]!;
  const matrix =
    transposed && tensor.shape.length === 2 ? transpose(stored, tensor.shape[0]!, tensor.shape[1]!) : stored;
  return rows ? selectRows(matrix, rows, columns) : matrix;
}

function readRows(source: TensorSource, parameter: Located, rows: ArrayLike<number>): Float32Array {
  const { tensor, transposed, shape } = parameter;
  const columns = shape[1]!;
  if (transposed) return selectRows(values(source, parameter), rows, columns);
  const { elements, bytes } = blockInfo(tensor.type);
  const rowBytes = (columns / elements) * bytes;
  const out = new Float32Array(rows.length * columns);
  for (let i = 0; i < rows.length; i++) {
    const row = parameter.rows ? parameter.rows[rows[i]!]! : rows[i]!;
    out.set(dequantise(tensor.type, source.read(tensor, row * rowBytes, rowBytes), columns), i * columns);
  }
  return out;
}

function stored(source: TensorSource, { tensor, rows }: Located): Uint8Array {
  const bytes = source.read(tensor);
  return rows ? selectRows(bytes, rows, bytes.length / tensor.shape[0]!) : bytes;
}

const formOf = ({ tensor, shape, transposed }: Located): BlockForm | null =>
  shape.length !== 2 || transposed ? null : blockForm(tensor.type);

function blocks(source: TensorSource, { tensor, rows }: Located, name: string): WeightBlocks {
  const [stored, columns] = tensor.shape as [number, number];
  const all = toBlocks(tensor.type, source.read(tensor), stored, columns);
  if (!all) throw new Error(`"${name}" is not stored in blocks`);
  if (!rows) return all;
  const perRow = columns / all.blockSize;
  return {
    ...all,
    quants: selectRows(all.quants, rows, all.quants.length / stored),
    scales: selectRows(all.scales, rows, perRow),
    minima: all.minima && selectRows(all.minima, rows, perRow),
  };
}

function expanded(stored: WeightBlocks, shape: readonly number[]): Float32Array {
  const all = new Float32Array(shape[0]! * shape[1]!);
  expandBlocks(stored, 0, all);
  return all;
}

function selectRows<T extends Float32Array | Uint8Array>(matrix: T, rows: ArrayLike<number>, columns: number): T {
  const out = new (matrix.constructor as new (length: number) => T)(rows.length * columns);
  for (let i = 0; i < rows.length; i++)
    out.set(matrix.subarray(rows[i]! * columns, (rows[i]! + 1) * columns), i * columns);
  return out;
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

function finiteBlocks(stored: WeightBlocks, name: string, file: string): WeightBlocks {
  finite(stored.scales, name, file);
  if (stored.minima) finite(stored.minima, name, file);
  return stored;
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
