/**
 * Captures a tfjs function once as an ONNX graph: a tfjs backend whose kernels compute nothing and write nodes. Gradients
 * and updates are ordinary tfjs code to it. It does not know what the graph is for or what runs it.
 */
import * as tf from '@tensorflow/tfjs-core';
import { GraphBuilder, type BuiltGraph } from '../graph/builder.ts';
import { kernelRules, type Recorded } from './recorder-kernels.ts';

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
          tensors[name] = toTensor({ name: graph.input(name, dtype, declared), shape: sizes, dtype });
        }
        const dynamic = new Map(
          Object.values<InputSpec>(inputs)
            .flatMap(({ shape }) => shape)
            .flatMap((size) => (typeof size === 'number' ? [] : [[size.example, size.name] as const])),
        );
        for (const [name, tensor] of Object.entries(compute(tensors as Named<K>))) {
          const shape = tensor.shape.map((size) => dynamic.get(size) ?? size);
          graph.output(recordedOf(tensor).name, name, tensor.dtype === 'int32' ? 'int32' : 'float32', shape);
        }
      }),
    );
    return graph.build();
  } finally {
    recording = null;
  }
}

/**
 * `x`, computed only when every tensor of `earlier` has been. Eager backends compute in order anyway; a graph's runtime
 * may otherwise start all chunks of a loop before it finishes one, and hold the memory of all.
 */
export function after(x: tf.Tensor, earlier: readonly tf.Tensor[]): tf.Tensor {
  if (!recording || !earlier.length) return x;
  const graph = recording;
  const nothings = earlier.map((tensor) => {
    const { name, shape } = recordedOf(tensor);
    const ends = [shape.map(() => 0), shape.map(() => 1), shape.map((_, i) => i)];
    const first = shape.length ? graph.node('Slice', [name, ...ends.map((end) => graph.ints(end))]) : name;
    return graph.node('Mul', [graph.node('Reshape', [first, graph.ints([])]), graph.scalar(0)]);
  });
  const name = nothings.reduce((sum, nothing) => graph.node('Add', [sum, nothing]), recordedOf(x).name);
  return toTensor({ name, shape: x.shape, dtype: x.dtype });
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

/** What tfjs holds of a tensor while recording: its name in the graph, or a constant that no node has read yet. */
type Entry = { readonly name: string } | { readonly values: tf.BackendValues };

class RecordingBackend extends tf.KernelBackend {
  private readonly entries = new WeakMap<object, Entry>();

  override write(values: tf.BackendValues): object {
    return this.add({ values });
  }
  override move(dataId: object, values: tf.BackendValues): void {
    this.entries.set(dataId, { values });
  }
  add(entry: Entry): object {
    const id = {};
    this.entries.set(id, entry);
    return id;
  }
  /** The name of a tensor in the graph; a constant is added to the graph when first read. */
  name(graph: GraphBuilder, { dataId, shape, dtype }: tf.TensorInfo): string {
    const entry = this.entries.get(dataId);
    if (!entry) throw new Error('a tensor of another backend was used while recording: pass it in as an input');
    if ('name' in entry) return entry.name;
    const name = addConstant(graph, entry.values, shape, dtype);
    this.entries.set(dataId, { name });
    return name;
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

function addConstant(graph: GraphBuilder, values: tf.BackendValues, shape: number[], dtype: tf.DataType): string {
  const numbers = values as Float32Array | Int32Array;
  const data = dtype === 'int32' ? Int32Array.from(numbers) : Float32Array.from(numbers);
  if (data instanceof Float32Array && data.length <= sharedConstant) return graph.constant(data, shape);
  return graph.initialiser(`values_${constants++}`, data, shape);
}

const backend = new RecordingBackend();
tf.registerBackend(backendName, () => backend);

function recordedOf(tensor: tf.TensorInfo): Recorded {
  return { name: backend.name(recording!, tensor), shape: tensor.shape, dtype: tensor.dtype };
}

function toTensor({ name, shape, dtype }: Recorded): tf.Tensor {
  return tf.engine().makeTensorFromTensorInfo({ dataId: backend.add({ name }), shape: [...shape], dtype });
}

for (const [kernelName, rule] of Object.entries(kernelRules)) {
  tf.registerKernel({
    kernelName,
    backendName,
    kernelFunc: ({ inputs, attrs }) => {
      const list = Object.values(inputs).map((tensor) => recordedOf(tensor as tf.TensorInfo));
      const named = Object.fromEntries(Object.keys(inputs).map((key, i) => [key, list[i]!]));
      const { name, shape, dtype } = rule(recording!, { ...named, list } as never, (attrs ?? {}) as never);
      return { dataId: backend.add({ name }), shape: [...shape], dtype: dtype ?? list[0]!.dtype };
    },
  });
}

tf.registerKernel({
  kernelName: tf.Fill,
  backendName,
  kernelFunc: ({ attrs }) => {
    const { shape, value } = attrs as unknown as { shape: number[]; value: number };
    const size = recording!.ints(shape);
    const name = recording!.node('Expand', [recording!.scalar(value), size]);
    return { dataId: backend.add({ name }), shape, dtype: 'float32' };
  },
});
