/** The tensors of a plain model as its format stores them: those of the backbone's files, byte by byte, and the exit's. */
import { userError } from '../../protocol/errors.ts';
import { quantiseBlocks, type QuantisedType } from '../formats/quantise-blocks.ts';
import { dequantise } from '../formats/dequantise.ts';
import { bytesOf, elementCount, type TensorData } from '../formats/safetensors.ts';
import type { TensorInfo, TensorType } from '../formats/tensor-source.ts';
import type { Model } from '../model/open.ts';
import type { ParameterValues } from '../model/overlay.ts';
import type { PlainModel } from './plain-model.ts';

/** Types of numbers, one by one, that both formats have. */
export const floats: readonly TensorType[] = ['F32', 'F16', 'BF16'];

/**
 * In the order of the files, then new ones. `quantised`: type of matrices that are not quantised yet; null: unchanged.
 * @throws UserError if a parameter is stored in the files in a way that cannot be written here.
 */
export function plainTensors(
  { stored, name }: Pick<Model, 'stored' | 'name'>,
  plain: PlainModel,
  quantised: QuantisedType | null,
): TensorData[] {
  const { tensors } = stored;
  const replaced = new Map(
    [...plain.parameters].map(([parameter, value]) => [
      tensorOf(stored, name, parameter),
      storedValue(stored, parameter, value),
    ]),
  );
  const kept = [...tensors.tensors.values()].filter(
    (tensor) => layerOf(tensor.name) < plain.layers && !replaced.has(tensor.name),
  );
  return [
    ...kept.map((tensor) => keptTensor(stored, tensor, quantised)),
    ...[...replaced].map(([tensor, value]) => newTensor(tensor, value, quantised)),
  ];
}

/** The layer that a tensor is of, from 0; −1 for those outside. */
const layerOf = (tensor: string): number => Number(/(?:^|\.)(?:blk|layers|h)\.(\d+)\./.exec(tensor)?.[1] ?? -1);

/** What the file calls a parameter. */
function tensorOf(stored: Model['stored'], model: string, parameter: string): string {
  const { tensors } = stored;
  const found = stored.place(parameter);
  if (!found || found.pieces || found.transposed || (found.rows && isPart(parameter)))
    throw userError(
      'unsupported',
      `${model} keeps "${parameter}" within another tensor, which is not written.`,
      'Export from a file of this model that keeps it apart, such as its Hugging Face directory.',
    );
  // The scheme of tensor names in this file: that of the same parameter of the first layer, if there is none.
  const names = [found.tensor, ...(found.aliases ?? [])];
  const first = stored.place(parameter.replace(/^layers\.\d+\./, 'layers.0.'));
  const spoken = [first?.tensor, ...(first?.aliases ?? [])].findIndex((each) => each && tensors.tensors.has(each));
  return names.find((each) => tensors.tensors.has(each)) ?? names[Math.max(0, spoken)] ?? found.tensor;
}

/** Whether rows that are chosen are a part of a tensor: those of q and k are all of it in another order. */
const isPart = (parameter: string): boolean => !/self_attn\.[qk]_proj\./.test(parameter);

/** A parameter as the file orders its rows. */
const storedValue = (
  stored: Model['stored'],
  parameter: string,
  { shape, data }: ParameterValues,
): ParameterValues => ({
  shape,
  data: rowsStored(data, stored.place(parameter)?.rows, shape),
});

/** Numbers or bytes of a parameter. Row i comes from row `rows[i]` of the file; without `rows` they are unchanged. */
export function rowsStored<T extends Float32Array | Uint8Array>(
  data: T,
  rows: Int32Array | undefined,
  [count]: readonly number[],
): T {
  if (!rows) return data;
  const length = data.length / count!;
  const ordered = data.slice() as T;
  for (const [to, from] of rows.entries()) ordered.set(data.subarray(to * length, (to + 1) * length), from * length);
  return ordered;
}

function keptTensor({ tensors }: Model['stored'], tensor: TensorInfo, quantised: QuantisedType | null): TensorData {
  const { name, type, shape } = tensor;
  if (quantised === null || !floats.includes(type) || !isMatrix(name, shape)) {
    return { name, type, shape, bytes: lazily(() => tensors.read(tensor)) };
  }
  const values = (): Float32Array => dequantise(type, tensors.read(tensor), elementCount(shape));
  return { name, type: quantised, shape, bytes: lazily(() => quantiseBlocks(quantised, values())) };
}

const newTensor = (name: string, { shape, data }: ParameterValues, quantised: QuantisedType | null): TensorData =>
  quantised !== null && isMatrix(name, shape)
    ? { name, type: quantised, shape, bytes: lazily(() => quantiseBlocks(quantised, data)) }
    : { name, type: 'F32', shape, bytes: bytesOf(data) };

/** Rows of whole blocks of what is multiplied, experts too; a router is small and decides, and tables of positions are looked up. */
export const isMatrix = (name: string, shape: readonly number[]): boolean =>
  shape.length >= 2 && shape.at(-1)! % 32 === 0 && /(?<!_norm|ffn_gate_inp|position_embd)\.weight$/.test(name);

/** Bytes of the exit's own matrices in 32 bits beside layers in blocks; 0 if the base has none in blocks. */
export function bytesBesideBlocks({ tensors }: Model['stored'], { parameters }: PlainModel): number {
  if ([...tensors.tensors.values()].every(({ type }) => floats.includes(type))) return 0;
  const matrices = [...parameters.values()].filter(({ shape }) => shape.length > 1);
  return matrices.reduce((sum, { data }) => sum + data.byteLength, 0);
}

/** Read when it is written, so that one tensor at a time is in memory. */
export function lazily(read: () => Uint8Array): Iterable<Uint8Array> {
  return {
    *[Symbol.iterator]() {
      yield read();
    },
  };
}
