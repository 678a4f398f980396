/**
 * Type and buffer of a weight on a processor, and its bytes there: in the file's own type if arithmetic may round activations (or in a
 * faster one), else in float32. Keeps nothing.
 */
import { userError } from '../../protocol/errors.ts';
import { blockInfo } from '../formats/dequantise.ts';
import { freshMemory, type Allocate } from '../system/files.ts';
import type { TensorType } from '../formats/tensor-source.ts';
import { widen, widerBlocks } from '../formats/widen.ts';
import type { Parameters } from '../model/parameters.ts';
import { types, type TypeName } from './library.ts';
import { encode, type ManyPlacement, type Placement, type Processor } from './processor.ts';

/**
 * `exact`: everything in float32. `wide`: floats of the file in float32, trained matrices in bytes. `stored`: as in the file. `many`: the
 * fastest form for many tokens at once.
 */
export type WeightForm = 'exact' | 'wide' | 'stored' | 'many';

/** Whether values between products stay in 32 bits, too. */
export const isExact = (form: WeightForm): boolean => form === 'exact' || form === 'wide';

/** Weights of a file as a processor is to have them. */
export interface WeightSource {
  readonly processor: Processor;
  readonly parameters: Parameters;
  readonly form: WeightForm;
  /** Trained matrices of which only the largest outputs matter. */
  readonly inFewBits: (name: string) => boolean;
}

/** `[out, in]`. */
const shapeOf = (parameters: Parameters, name: string): [number, number] => parameters.shape(name) as [number, number];

/** Buffer of a matrix of this size that is stored like a weight. */
function placeOf(
  source: WeightSource,
  name: string,
  rows: number,
  columns: number,
): ManyPlacement & Pick<Placement, 'few' | 'alone'> {
  const { processor, form } = source;
  const type = typeOf(source, name);
  if (form === 'many') return { ...processor.placeForMany(type, columns, rows), few: null, alone: 1 };
  return processor.place(type, columns, rows);
}

/** Whether matrices may be stored as one: small ones, whose products take not much longer than threads wait for each other. */
export function canJoin(source: WeightSource, names: readonly string[]): boolean {
  const { processor, parameters, form } = source;
  if (processor.isGpu || form === 'many') return false;
  const rows = sum(names.map((name) => shapeOf(parameters, name)[0]));
  const columns = shapeOf(parameters, names[0]!)[1];
  if (rows * columns > mostJoined) return false;
  const { type } = placeOf(source, names[0]!, rows, columns);
  return names.every((name) => placeOf(source, name, ...shapeOf(parameters, name)).type === type);
}

/**
 * Largest size of matrices that are stored as one, in numbers: the smaller a product, the larger the share of its time in which threads
 * wait for each other.
 */
const mostJoined = 1 << 22;

/** The buffer of one weight, or of several below each other, and the weights. */
export interface MatrixPlan extends ManyPlacement, Pick<Placement, 'few' | 'alone'> {
  readonly rows: number;
  readonly columns: number;
  /** Rows of each weight, in order; the matrix may have rows of zeros behind them. */
  readonly parts: readonly number[];
}

/** Kernels take rows in groups of this many at most. */
const rowGroup = 32;

export function planMatrix(source: WeightSource, names: readonly string[]): MatrixPlan {
  const parts = names.map((name) => shapeOf(source.parameters, name)[0]);
  const columns = shapeOf(source.parameters, names[0]!)[1];
  // A shortlist has a row more than tokens. Kernels that repack blocks take no such matrix, and plain ones take twice as long.
  const isPadded = source.form !== 'exact' && names.every((name) => isTrained(source.parameters, name));
  const rows = isPadded ? Math.ceil(sum(parts) / rowGroup) * rowGroup : sum(parts);
  return { ...placeOf(source, names[0]!, rows, columns), rows, columns, parts };
}

/** The contents of the matrix of these weights. */
export function matrixData(
  source: WeightSource,
  names: readonly string[],
  { type, rows, parts, columns }: MatrixPlan,
  allocate = freshMemory,
): Uint8Array {
  const each = names.map((name, i) => dataOf(source, name, type, parts[i]!, columns, allocate));
  const { elements, bytes } = blockInfo(type);
  const total = (rows * columns * bytes) / elements;
  return each[0]!.byteLength === total ? each[0]! : belowEachOther(each, total, allocate);
}

/** The bytes of one weight in a type. */
export function dataOf(
  { processor, parameters }: WeightSource,
  name: string,
  type: TypeName,
  rows: number,
  columns: number,
  allocate = freshMemory,
): Uint8Array {
  const stored = parameters.storedType(name);
  if (stored === type && type !== 'F32') return finite(parameters.stored(name, allocate), type, name);
  if (stored !== null && widerBlocks(stored) === type) return widen(parameters.stored(name, allocate), allocate);
  return encode(processor.library, type, parameters.values(name), rows, columns);
}

/** `total`: their bytes, and those of zeros behind them. */
function belowEachOther(parts: readonly Uint8Array[], total: number, allocate: Allocate): Uint8Array {
  const all = allocate(total);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.byteLength;
  }
  return all.fill(0, at);
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, n) => total + n, 0);

/** Buffer and type of the experts of a layer, as one tensor. */
export function placeExperts(source: WeightSource, name: string, experts: number): ManyPlacement {
  const { processor, parameters, form } = source;
  const [rows, columns] = shapeOf(parameters, name);
  const isTooLarge = form === 'exact' && rows * columns > mostExpanded;
  const own = typeOf(isTooLarge ? { ...source, form: 'stored' } : source, name);
  return processor.place(own, columns, rows / experts, experts);
}

/**
 * Most numbers of a layer's experts that are expanded to 32 bits for exact precision. The experts of real models would take several times
 * the memory of the file, and a token needs few of them.
 */
export const mostExpanded = 1 << 22;

/** Elements of a block of the type that trained matrices are rounded to. */
const trainedBlock = 32;

/** The type in which the file has a matrix and ggml computes with it; null if it has it in none. */
export function storedForm(parameters: Parameters, name: string): TypeName | null {
  const stored = parameters.storedType(name);
  return stored !== null && isComputable(stored) ? stored : null;
}

function typeOf({ processor, parameters, form, inFewBits }: WeightSource, name: string): TypeName {
  if (form === 'exact') return 'F32';
  const stored = parameters.storedType(name);
  if (stored !== null) return form !== 'wide' && isComputable(stored) ? stored : 'F32';
  if (!isTrained(parameters, name)) return 'F32';
  return form === 'stored' && inFewBits(name) && paysInFewBits(processor, shapeOf(parameters, name)) ? fewBits : 'Q8_0';
}

/**
 * Blocks of 4 bits, which a kernel repacks on most processors: a matrix that comes from memory for each token takes half of the time of one
 * in bytes.
 */
export const fewBits = 'Q4_0';
/** Numbers of such a matrix; a smaller one stays in the caches. */
const smallestInFewBits = 1 << 21;

const paysInFewBits = (processor: Processor, [rows, columns]: readonly [number, number]): boolean =>
  !processor.isGpu &&
  rows * columns >= smallestInFewBits &&
  processor.place(fewBits, columns, rowGroup).bufferType !== processor.plain;

/** Whether a matrix is in no file, but in memory, and can be rounded to blocks. */
const isTrained = (parameters: Parameters, name: string): boolean =>
  parameters.isInMemory(name) &&
  parameters.storedType(name) === null &&
  parameters.shape(name)[1]! % trainedBlock === 0;

const isComputable = (type: TensorType): type is TensorType & TypeName =>
  type in types && type !== 'I32' && type !== 'I64';

/** A half float is infinite or no number if all bits of its exponent are ones. */
function finite(bytes: Uint8Array, type: TypeName, name: string): Uint8Array {
  if (type !== 'F16' && type !== 'BF16') return bytes;
  const exponent = type === 'F16' ? 0x7c00 : 0x7f80;
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  for (let i = 0; i < halves.length; i++)
    if ((halves[i]! & exponent) === exponent)
      throw userError(
        'bad-weights',
        `"${name}" holds values that are not numbers.`,
        'The file is damaged; get the model again.',
      );
  return bytes;
}
