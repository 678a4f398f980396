/**
 * A model's parameters in the buffers of a device, each uploaded on first use; weight-form.ts has their types and bytes. Knows no layer.
 */
import { freshMemory } from '../system/files.ts';
import type { Parameters } from '../model/parameters.ts';
import { newArena } from './arena.ts';
import { newStaging } from './staging.ts';
import { newContext, noMemory, type Processor } from './processor.ts';
import { types, type BufferType, type Context, type Tensor, type TypeName } from './library.ts';
import {
  canJoin,
  dataOf,
  matrixData,
  placeExperts,
  planMatrix,
  type WeightForm,
  type WeightSource,
} from './weight-form.ts';

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
  /**
   * Adds a matrix that no file has, under a name of its own: `matrix` returns it from then on. `data` is called once. `blockRows`: only
   * blocks of so many rows are multiplied.
   */
  keep(
    name: string,
    type: TypeName,
    shape: readonly [rows: number, columns: number],
    data: () => Uint8Array,
    blockRows?: number,
  ): Promise<void>;
  /** A bias or the gain of a norm, plus `offset`. */
  vector(name: string, offset?: number): Tensor;
  /** Numbers that a graph needs and no file has. */
  constant(name: string, values: () => Float32Array): Tensor;
  dispose(): void;
}

/** `inFewBits`: see `WeightSource`. */
export function openWeights(
  processor: Processor,
  parameters: Parameters,
  form: WeightForm,
  inFewBits: WeightSource['inFewBits'] = () => false,
): Weights {
  const { library } = processor;
  const source: WeightSource = { processor, parameters, form, inFewBits };
  const matrices = new Map<string, Matrix>();
  const stacks = new Map<string, Tensor>();
  const vectors = new Map<string, Tensor>();
  /** Matrices that another thread is laying out. */
  const coming = new Map<string, Promise<void>>();
  const memory = openMemory(processor);

  const vector = (key: string, values: () => Float32Array): Tensor => {
    let tensor = vectors.get(key);
    if (tensor === undefined) {
      const data = values();
      tensor = memory.upload((context) => library.newTensor1(context, types.F32, data.length), processor.plain, data);
      vectors.set(key, tensor);
    }
    return tensor;
  };

  /** The matrix of one weight, or of several below each other, in its buffer, and its contents. */
  const newMatrix = (names: readonly string[], allocate = freshMemory): { matrix: Matrix; data: Uint8Array } => {
    const plan = planMatrix(source, names);
    const { type, bufferType, rows, columns, parts, few, alone } = plan;
    const data = matrixData(source, names, plan, allocate);
    const make = (context: Context): Tensor => library.newTensor2(context, types[type], columns, rows);
    return { matrix: { tensor: memory.place(make, bufferType, data.byteLength), rows, parts, few, alone }, data };
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
    joined: (names) => (canJoin(source, names) ? matrixOf(names) : null),
    async load(groups) {
      const staging = newStaging();
      try {
        for (const names of groups.flatMap((group) =>
          canJoin(source, group) ? [group] : group.map((name) => [name]),
        )) {
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
    async keep(name, type, [rows, columns], data, blockRows = rows) {
      if (matrices.has(name)) return;
      if (coming.has(name)) return coming.get(name);
      const { bufferType, few, alone, type: own } = processor.place(type, columns, blockRows, rows / blockRows);
      if (own !== type) throw new Error(`"${name}" would lie in ${own}`);
      const bytes = data();
      const make = (context: Context): Tensor => library.newTensor2(context, types[type], columns, rows);
      const tensor = memory.place(make, bufferType, bytes.byteLength);
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
        const [rows, columns] = parameters.shape(name) as [number, number];
        const { type, bufferType } = placeExperts(source, name, experts);
        const make = (context: Context): Tensor =>
          library.newTensor3(context, types[type], columns, rows / experts, experts);
        tensor = memory.upload(make, bufferType, dataOf(source, name, type, rows, columns));
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
      memory.dispose();
      matrices.clear();
      stacks.clear();
      vectors.clear();
    },
  };
}

/** Memory for weights on a processor: they are placed one by one and freed together. */
interface WeightMemory {
  place(make: (context: Context) => Tensor, bufferType: BufferType, bytes: number): Tensor;
  /** Places a tensor, and writes into it. */
  upload(make: (context: Context) => Tensor, bufferType: BufferType, data: ArrayBufferView): Tensor;
  dispose(): void;
}

function openMemory(processor: Processor): WeightMemory {
  const { library } = processor;
  const arena = newArena(processor, weightUsage);
  const contexts: Context[] = [];
  const place: WeightMemory['place'] = (make, bufferType, bytes) => {
    const context = newContext(library, 2);
    const tensor = make(context);
    contexts.push(context);
    if (arena.place(tensor, bufferType)) return tensor;
    throw noMemory(processor, `${(bytes / 1e6).toFixed(0)} MB of weights`, wayOut);
  };
  return {
    place,
    upload(make, bufferType, data) {
      const tensor = place(make, bufferType, data.byteLength);
      library.set(tensor, data, 0, data.byteLength);
      return tensor;
    },
    dispose() {
      arena.dispose();
      for (const context of contexts.splice(0)) library.free(context);
    },
  };
}

/** Most matrices that are repacked at the same time while the next is read: each waits in memory for its turn. */
const setAtOnce = 3;

/** `GGML_BACKEND_BUFFER_USAGE_WEIGHTS`. */
const weightUsage = 1;

const wayOut = 'Close other programs, or take a smaller model.';
