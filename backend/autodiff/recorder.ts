/**
 * Captures a tfjs function once as an ONNX graph: a tfjs backend whose kernels compute nothing and write nodes. Gradients
 * and updates are ordinary tfjs code to it. It does not know what the graph is for or what runs it.
 */
import * as tf from '@tensorflow/tfjs-core';
import { GraphBuilder, type BuiltGraph } from '../onnx/builder.ts';
import { kernelRules, type Known, type Recorded, type Result } from './recorder-kernels.ts';

export interface InputSpec {
  /** A named size may differ from run to run; the function must then hold for any (elementwise functions do). */
  readonly shape: readonly (number | { readonly name: string; readonly example: number })[];
  readonly dtype?: 'float32' | 'int32';
}

type Named<K extends string = string> = Readonly<Record<K, tf.Tensor>>;

const backendName = 'recorder';
/** Constants up to this many elements are shared when equal. */
const sharedConstant = 64;

/** One recording at a time: recording is synchronous. */
let recording: GraphBuilder | null = null;

/**
 * Calls `compute` once with symbolic tensors and returns the graph of what it returned, outputs named by its keys.
 * Tensors created inside become constants. tf.Tensor data cannot be read while recording.
 * @throws Error naming the kernel that has no rule.
 */
export function record<K extends string>(
  inputs: Readonly<Record<K, InputSpec>>,
  compute: (tensors: Named<K>) => Named,
): BuiltGraph {
  if (recording) throw new Error('a recording is already under way');
  const graph = new GraphBuilder();
  recording = graph;
  try {
    withBackend(backendName, () =>
      tf.tidy(() => {
        const tensors: Record<string, tf.Tensor> = {};
        for (const [name, { shape, dtype = 'float32' }] of Object.entries<InputSpec>(inputs)) {
          const declared = shape.map((size) => (typeof size === 'number' ? size : size.name));
          const sizes = shape.map((size) => (typeof size === 'number' ? size : size.example));
          graph.input(name, dtype, declared);
          tensors[name] = makeTensor({ write: () => name, shape: sizes, dtype });
        }
        const dynamic = new Map(
          Object.values<InputSpec>(inputs)
            .flatMap(({ shape }) => shape)
            .flatMap((size) => (typeof size === 'number' ? [] : [[size.example, size.name] as const])),
        );
        const results = compute(tensors as Named<K>);
        for (const [name, tensor] of Object.entries(results)) {
          const shape = tensor.shape.map((size) => dynamic.get(size) ?? size);
          graph.output(recordedOf(tensor).name, name, tensor.dtype === 'int32' ? 'int32' : 'float32', shape);
        }
        tf.dispose(results); // Those that the function kept, too.
      }),
    );
    return graph.build();
  } finally {
    recording = null;
  }
}

/**
 * `x`, computed only after every tensor of `earlier`. Eager backends compute in order anyway; but the runtime of a graph may otherwise
 * start all chunks of a loop before it finishes one, and need memory for all.
 */
export function after(x: tf.Tensor, earlier: readonly tf.Tensor[]): tf.Tensor {
  if (!recording || !earlier.length) return x;
  const graph = recording;
  const write = (): string =>
    earlier.reduce((sum, tensor) => {
      const { name, shape } = recordedOf(tensor);
      const ends = [shape.map(() => 0), shape.map(() => 1), shape.map((_, i) => i)];
      const first = shape.length ? graph.node('Slice', [name, ...ends.map((end) => graph.ints(end))]) : name;
      const nothing = graph.node('Mul', [graph.node('Reshape', [first, graph.ints([])]), graph.scalar(0)]);
      return graph.node('Add', [sum, nothing]);
    }, recordedOf(x).name);
  return makeTensor({ write, shape: x.shape, dtype: x.dtype });
}

/** Runs a synchronous function on a tfjs backend, which must be ready, and returns to the one before. */
export function withBackend<T>(name: string, run: () => T): T {
  const engine = tf.engine();
  const before = engine.backendName;
  if (before === name) return run();
  void tf.setBackend(name); // Synchronous for a backend that is ready.
  try {
    return run();
  } finally {
    if (before) void tf.setBackend(before);
  }
}

/** tfjs's record of a tensor while recording. */
interface Entry extends Known {
  /** Its name in the graph, once it is used. */
  name: string | null;
  readonly write: () => string;
}

class RecordingBackend extends tf.KernelBackend {
  private readonly entries = new WeakMap<object, Entry>();

  override write(values: tf.BackendValues, shape: number[], dtype: tf.DataType): object {
    return this.add(constantEntry(values, shape, dtype));
  }
  override move(dataId: object, values: tf.BackendValues, shape: number[], dtype: tf.DataType): void {
    this.entries.set(dataId, constantEntry(values, shape, dtype));
  }
  add(entry: Entry): object {
    const id = {};
    this.entries.set(id, entry);
    return id;
  }
  entry(dataId: object): Entry {
    const entry = this.entries.get(dataId);
    if (!entry) throw new Error('a tensor of another backend was used while recording: pass it in as an input');
    return entry;
  }
  override readSync(): never {
    throw new Error('the values of a tensor were read while recording');
  }
  override async read(): Promise<never> {
    return this.readSync();
  }
  override numDataIds(): number {
    return 0;
  }
  override floatPrecision(): 32 {
    return 32;
  }
  override epsilon(): number {
    return 1e-7;
  }
  override refCount(): number {
    return 1;
  }
  override incRef(): void {}
  decRef(): void {}
  override disposeData(): boolean {
    return true;
  }
  override dispose(): void {}
  override memory(): { unreliable: boolean } {
    return { unreliable: true };
  }
}

let constants = 0;

function constantEntry(values: tf.BackendValues, shape: number[], dtype: tf.DataType): Entry {
  const numbers = values as Float32Array | Int32Array;
  const isUniform = numbers.length <= sharedConstant && numbers.every((value) => value === numbers[0]);
  const write = (): string => {
    const data = dtype === 'int32' ? Int32Array.from(numbers) : Float32Array.from(numbers);
    if (data instanceof Float32Array && data.length <= sharedConstant) return recording!.constant(data, shape);
    return recording!.initialiser(`values_${constants++}`, data, shape);
  };
  return { name: null, write, uniform: isUniform ? numbers[0] : undefined };
}

const backend = new RecordingBackend();
tf.registerBackend(backendName, () => backend, 0); // tfjs never chooses it on its own.

function recordedOf({ dataId, shape, dtype }: tf.TensorInfo): Recorded {
  const entry = backend.entry(dataId);
  return {
    get name() {
      return (entry.name ??= entry.write());
    },
    shape,
    dtype,
    uniform: entry.uniform,
    squareOf: entry.squareOf,
  };
}

function tensorInfo({ write, shape, dtype = 'float32', uniform, squareOf }: Result): tf.TensorInfo {
  return { dataId: backend.add({ name: null, write, uniform, squareOf }), shape: [...shape], dtype };
}

const makeTensor = (result: Result): tf.Tensor => tf.engine().makeTensorFromTensorInfo(tensorInfo(result));

for (const [kernelName, rule] of Object.entries(kernelRules)) {
  tf.registerKernel({
    kernelName,
    backendName,
    kernelFunc: ({ inputs, attrs }) => {
      const list = Object.values(inputs).map((tensor) => recordedOf(tensor as tf.TensorInfo));
      const named = Object.fromEntries(Object.keys(inputs).map((key, i) => [key, list[i]!]));
      const result = rule(recording!, { ...named, list } as never, attrs ?? {});
      return tensorInfo({ ...result, dtype: result.dtype ?? list[0]!.dtype });
    },
  });
}
