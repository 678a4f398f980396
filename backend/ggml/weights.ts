/**
 * A model's parameters in the buffers of a device, each uploaded on first use: a matrix in its file's own type if arithmetic may round
 * activations (or in a faster one), else in float32. Knows no layer.
 */
import { userError } from '../../protocol/errors.ts';
import type { TensorType } from '../formats/tensor-source.ts';
import { freshMemory, type Allocate } from '../formats/files.ts';
import { widen, widerBlocks } from '../formats/widen.ts';
import type { Parameters } from '../model/parameters.ts';
import { newArena } from './arena.ts';
import { newStaging } from './staging.ts';
import { encode, newContext, noMemory, type ManyPlacement, type Processor } from './processor.ts';
import { types, type BufferType, type Context, type Tensor, type TypeName } from './library.ts';

export interface Matrix {
  readonly tensor: Tensor;
  /** Outputs. */
  readonly rows: number;
  /** Those of each weight that lies in it, in order. */
  readonly parts: readonly number[];
  /** See `Placement`. */
  readonly few: number | null;
  /** Most tokens that are multiplied faster one by one. */
  readonly alone: number;
}

export interface Weights {
  has(name: string): boolean;
  /** A linear's weight `[out, in]`. */
  matrix(name: string): Matrix;
  /** Weights of linears of one input as one matrix; null if they are large or lie in different types. */
  joined(names: readonly string[]): Matrix | null;
  /**
   * Uploads matrices before their first use, which is faster: some are repacked while the next is read. Those of a group are used together.
   */
  load(groups: readonly (readonly string[])[]): Promise<void>;
  /** Matrices of experts `[experts · out, in]`, as a tensor `[in, out, experts]`. */
  experts(name: string, experts: number): Tensor;
  /** Adds a matrix that no file has, under a name of its own: `matrix` returns it from then on. `data` is called once. */
  keep(
    name: string,
    type: TypeName,
    shape: readonly [rows: number, columns: number],
    data: () => Uint8Array,
  ): Promise<void>;
  /** A bias or the gain of a norm, plus `offset`. */
  vector(name: string, offset?: number): Tensor;
  /** Numbers that a graph needs and no file has. */
  constant(name: string, values: () => Float32Array): Tensor;
  dispose(): void;
}

/**
 * `exact`: everything in float32. `wide`: floats of the file in float32, trained matrices in bytes. `stored`: as in the file. `many`: the
 * fastest form for many tokens at once.
 */
export type WeightForm = 'exact' | 'wide' | 'stored' | 'many';

/** Whether values between products stay in 32 bits, too. */
export const isExact = (form: WeightForm): boolean => form === 'exact' || form === 'wide';

export function openWeights(processor: Processor, parameters: Parameters, form: WeightForm): Weights {
  const { library } = processor;
  const matrices = new Map<string, Matrix>();
  const stacks = new Map<string, Tensor>();
  const vectors = new Map<string, Tensor>();
  /** Matrices that another thread is laying out. */
  const coming = new Map<string, Promise<void>>();
  const arena = newArena(processor, weightUsage);
  const contexts: Context[] = [];

  const placeTensor = (make: (context: Context) => Tensor, bufferType: BufferType, bytes: number): Tensor => {
    const context = newContext(library, 2);
    const tensor = make(context);
    contexts.push(context);
    if (!arena.place(tensor, bufferType))
      throw noMemory(processor, `${(bytes / 1e6).toFixed(0)} MB of weights`, wayOut);
    return tensor;
  };
  const upload = (make: (context: Context) => Tensor, bufferType: BufferType, data: ArrayBufferView): Tensor => {
    const tensor = placeTensor(make, bufferType, data.byteLength);
    library.set(tensor, data, 0, data.byteLength);
    return tensor;
  };
  const vector = (key: string, values: () => Float32Array): Tensor => {
    let tensor = vectors.get(key);
    if (tensor === undefined) {
      const data = values();
      tensor = upload((context) => library.newTensor1(context, types.F32, data.length), processor.plain, data);
      vectors.set(key, tensor);
    }
    return tensor;
  };

  const dataOf = (name: string, type: TypeName, rows: number, columns: number, allocate = freshMemory): Uint8Array => {
    const stored = parameters.storedType(name);
    if (stored === type && type !== 'F32') return finite(parameters.stored(name, allocate), type, name);
    if (stored !== null && widerBlocks(stored) === type) return widen(parameters.stored(name, allocate), allocate);
    return encode(library, type, parameters.values(name), rows, columns);
  };

  const shapeOf = (name: string): [number, number] => parameters.shape(name) as [number, number];

  const placed = (name: string, rows: number, columns: number): ManyPlacement & Pick<Matrix, 'few' | 'alone'> => {
    const type = typeOf(parameters, name, form);
    if (form === 'many') return { ...processor.placeForMany(type, columns, rows), few: null, alone: 1 };
    return processor.place(type, columns, rows);
  };

  /** Whether matrices may be stored as one: small ones, whose products take not much longer than threads wait for each other. */
  const canJoin = (names: readonly string[]): boolean => {
    if (processor.isGpu || form === 'many') return false;
    const rows = sum(names.map((name) => shapeOf(name)[0]));
    const [first, columns] = [names[0]!, shapeOf(names[0]!)[1]];
    if (rows * columns > mostJoined) return false;
    const { type } = placed(first, rows, columns);
    return names.every((name) => placed(name, ...shapeOf(name)).type === type);
  };

  /** The matrix of one weight, or of several below each other, in its buffer, and its contents. */
  const newMatrix = (names: readonly string[], allocate = freshMemory): { matrix: Matrix; data: Uint8Array } => {
    const parts = names.map((name) => shapeOf(name)[0]);
    const [rows, columns] = [sum(parts), shapeOf(names[0]!)[1]];
    const { type, bufferType, few, alone } = placed(names[0]!, rows, columns);
    const each = names.map((name, i) => dataOf(name, type, parts[i]!, columns, allocate));
    const data = each.length === 1 ? each[0]! : belowEachOther(each, allocate);
    const make = (context: Context): Tensor => library.newTensor2(context, types[type], columns, rows);
    return {
      matrix: { tensor: placeTensor(make, bufferType, data.byteLength), rows, parts, few, alone },
      data,
    };
  };

  const matrixOf = (names: readonly string[]): Matrix => {
    const key = names.join(' ');
    let matrix = matrices.get(key);
    if (matrix === undefined) {
      const made = newMatrix(names);
      matrix = made.matrix;
      library.set(matrix.tensor, made.data, 0, made.data.byteLength);
      matrices.set(key, matrix);
    }
    return matrix;
  };

  return {
    has: (name) => parameters.has(name),
    matrix: (name) => matrixOf([name]),
    joined: (names) => (canJoin(names) ? matrixOf(names) : null),
    async load(groups) {
      const staging = newStaging();
      try {
        for (const names of groups.flatMap((group) => (canJoin(group) ? [group] : group.map((name) => [name])))) {
          const key = names.join(' ');
          if (matrices.has(key) || coming.has(key)) continue;
          const stage = staging.open();
          const { matrix, data } = newMatrix(names, stage.allocate);
          const set = library.setBeside(matrix.tensor, data).then(() => {
            stage.release();
            coming.delete(key);
            matrices.set(key, matrix);
          });
          coming.set(key, set);
          if (coming.size >= setAtOnce) await Promise.race(coming.values());
        }
        await Promise.all(coming.values());
      } finally {
        // The memory must not be given back while another thread uses it.
        await Promise.allSettled(coming.values());
        staging.dispose();
      }
    },
    async keep(name, type, [rows, columns], data) {
      if (matrices.has(name)) return;
      if (coming.has(name)) return coming.get(name);
      const { bufferType, few, alone, type: own } = processor.place(type, columns, rows);
      if (own !== type) throw new Error(`"${name}" would lie in ${own}`);
      const bytes = data();
      const make = (context: Context): Tensor => library.newTensor2(context, types[type], columns, rows);
      const tensor = placeTensor(make, bufferType, bytes.byteLength);
      const set = library.setBeside(tensor, bytes).then(() => {
        coming.delete(name);
        matrices.set(name, { tensor, rows, parts: [rows], few, alone });
      });
      coming.set(name, set);
      await set;
    },
    experts(name, experts) {
      let tensor = stacks.get(name);
      if (tensor === undefined) {
        const [all, columns] = parameters.shape(name) as [number, number];
        const rows = all / experts;
        const own = typeOf(parameters, name, form === 'exact' && all * columns > mostExpanded ? 'stored' : form);
        const { type, bufferType } = processor.place(own, columns, rows, experts);
        const make = (context: Context): Tensor => library.newTensor3(context, types[type], columns, rows, experts);
        tensor = upload(make, bufferType, dataOf(name, type, all, columns));
        stacks.set(name, tensor);
      }
      return tensor;
    },
    vector: (name, offset = 0) =>
      vector(`${name}+${offset}`, () => {
        const values = parameters.values(name);
        return offset === 0 ? values : values.map((value) => value + offset);
      }),
    constant: (name, values) => vector(`constant ${name}`, values),
    dispose() {
      arena.dispose();
      for (const context of contexts.splice(0)) library.free(context);
      matrices.clear();
      stacks.clear();
      vectors.clear();
    },
  };
}

/** Numbers of matrices that lie as one, together: the fewer, the more of a product's time threads wait for each other. */
const mostJoined = 1 << 22;

/** Matrices that are laid out at once while one is read: what is read waits for them in memory. */
const setAtOnce = 3;

function belowEachOther(parts: readonly Uint8Array[], allocate: Allocate): Uint8Array {
  const all = allocate(sum(parts.map(({ byteLength }) => byteLength)));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.byteLength;
  }
  return all;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, n) => total + n, 0);

/** `GGML_BACKEND_BUFFER_USAGE_WEIGHTS`. */
const weightUsage = 1;

/**
 * Numbers of a layer's experts that are expanded to 32 bits for exact precision: those of real models would take several times the file in
 * memory, of which a token needs few.
 */
export const mostExpanded = 1 << 22;

/** Elements of a block of the type that trained matrices are rounded to. */
const trainedBlock = 32;

/** The type in which the file has a matrix and ggml computes with it; null if it has it in none. */
export function storedForm(parameters: Parameters, name: string): TypeName | null {
  const stored = parameters.storedType(name);
  return stored !== null && isComputable(stored) ? stored : null;
}

function typeOf(parameters: Parameters, name: string, form: WeightForm): TypeName {
  if (form === 'exact') return 'F32';
  const stored = parameters.storedType(name);
  if (stored !== null) return form !== 'wide' && isComputable(stored) ? stored : 'F32';
  return parameters.isInMemory(name) && parameters.shape(name)[1]! % trainedBlock === 0 ? 'Q8_0' : 'F32';
}

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

const wayOut = 'Close other programs, or take a smaller model.';
