/**
 * The CPU as a device of ggml: its buffer types (those that repack weights first), its threads, and which of them computes a
 * token to the same bits whatever stands beside it in a pass. Knows no model.
 */
import { availableParallelism } from 'node:os';
import {
  types,
  type Backend,
  type BufferType,
  type Device,
  type Library,
  type ThreadPool,
  type TypeName,
} from './library.ts';
import { encode, newContext, type Placement, type Processor } from './processor.ts';
import { newGovernor } from './threads.ts';

/** `enum ggml_backend_dev_type`. */
const cpuType = 0;
/** Threads sleep soon after a graph, so that the rest of the program has the cores; waking them takes some microseconds. */
const defaultPolling = 1;
/** Bytes of `struct ggml_threadpool_params`: a mask of 512 threads, then threads, priority, polling and two flags. */
const poolParameters = { size: 528, threads: 512, polling: 520 } as const;

/**
 * Opens the CPU with so many threads. `polling` from 0 (sleep between operators) to 100: how long threads wait awake.
 * @throws Error where the libraries have no CPU for this machine.
 */
export function openCpu(
  library: Library,
  { threads = availableParallelism(), polling = defaultPolling } = {},
): Processor {
  const device = findCpu(library);
  const registry = library.deviceRegistry(device);
  const extra = <F>(name: string, returns: string, parameters: string): F => {
    const found = library.extra<F>(registry, name, returns, parameters);
    if (found === null) throw new Error(`ggml's CPU has no function ${name}`);
    return found;
  };
  const backend = library.initDevice(device, null);
  const setThreads = extra<(b: Backend, n: number) => void>('ggml_backend_set_n_threads', 'void', 'void *b, int n');
  const governor = newGovernor(threads);
  const parameters = new Uint8Array(poolParameters.size);
  const view = new DataView(parameters.buffer);
  view.setInt32(poolParameters.threads, threads, true);
  view.setUint32(poolParameters.polling, polling, true);
  const pool = extra<(p: Uint8Array) => ThreadPool>('ggml_threadpool_new', 'void *', 'void *p')(parameters);
  extra<(b: Backend, p: ThreadPool) => void>(
    'ggml_backend_cpu_set_threadpool',
    'void',
    'void *b, void *p',
  )(backend, pool);
  const useReference = extra<(b: Backend, on: boolean) => void>(
    'ggml_backend_cpu_set_use_ref',
    'void',
    'void *b, bool on',
  );
  const freePool = extra<(p: ThreadPool) => void>('ggml_threadpool_free', 'void', 'void *p');
  const plain = library.deviceBufferType(device);
  const lists = library.extra<(d: Device) => bigint>(registry, 'ggml_backend_dev_get_extra_bufts', 'void *', 'void *d');
  const repacking = lists === null ? [] : library.list<BufferType>(lists(device));
  const placements = new Map<string, Placement>();
  useReference(backend, true);
  const cpu: Processor = {
    library,
    plain,
    place(type, columns, rows) {
      // What a kernel does depends on the rows' remainder, not on how many there are.
      const few = Math.min(rows, 64 + (rows % 64));
      const key = `${type}/${columns}/${few}`;
      let placement = placements.get(key);
      if (placement === undefined) {
        placement = choosePlacement(cpu, device, repacking, { type, columns, rows: few });
        placements.set(key, placement);
      }
      return placement;
    },
    compute(graph) {
      const used = governor.count();
      setThreads(backend, used);
      const started = performance.now();
      const before = process.cpuUsage();
      const status = library.compute(backend, graph);
      const { user, system } = process.cpuUsage(before);
      governor.took(used, performance.now() - started, (user + system) / 1000);
      if (status !== 0) throw new Error(`ggml could not compute a graph (status ${status})`);
    },
    setTiled: (tiled) => useReference(backend, !tiled),
    dispose() {
      library.freeBackend(backend);
      freePool(pool);
    },
  };
  return cpu;
}

function findCpu(library: Library): Device {
  const find = (): Device | undefined =>
    Array.from({ length: library.deviceCount() }, (_, i) => library.device(i)).find(
      (device) => library.deviceType(device) === cpuType,
    );
  const known = find();
  if (known !== undefined) return known;
  library.loadAll(library.folder);
  const loaded = find();
  if (loaded === undefined) throw new Error(`the libraries in ${library.folder} have no CPU for this machine`);
  return loaded;
}

interface Shape {
  readonly type: TypeName;
  readonly columns: number;
  readonly rows: number;
}

/** The first buffer type that can multiply with such a weight and gives a token the same bits in every pass. */
function choosePlacement(cpu: Processor, device: Device, repacking: readonly BufferType[], shape: Shape): Placement {
  for (const bufferType of repacking)
    if (supports(cpu.library, device, bufferType, shape) && isEven(productsIn(cpu, bufferType, shape)))
      return { bufferType, pairs: false, isEven: true };
  const sums = productsIn(cpu, cpu.plain, shape);
  const pairs = !isEven(sums);
  return { bufferType: cpu.plain, pairs, isEven: isEven(pairs ? sums.slice(1) : sums) };
}

function supports(library: Library, device: Device, bufferType: BufferType, { type, columns, rows }: Shape): boolean {
  const weights = newContext(library, 2);
  const weight = library.newTensor2(weights, types[type], columns, rows);
  const buffer = library.allocate(weights, bufferType);
  const products = newContext(library, 4);
  const product = library.mulMat(products, weight, library.newTensor2(products, types.F32, columns, 512));
  const supported = buffer !== null && library.deviceSupports(device, product);
  library.free(products);
  if (buffer !== null) library.freeBuffer(buffer);
  library.free(weights);
  return supported;
}

/** Tokens of the products that are compared: what kernels treat apart. */
const passes = [1, 2, 3, 4, 5, 8, 16];

/** Products of one weight with so many tokens: `[tokens · rows]` each. */
function productsIn(cpu: Processor, bufferType: BufferType, { type, columns, rows }: Shape): Float32Array[] {
  const { library } = cpu;
  const weights = newContext(library, 2);
  const weight = library.newTensor2(weights, types[type], columns, rows);
  const buffer = library.allocate(weights, bufferType);
  if (buffer === null) return [];
  const values = unevenNumbers(rows * columns);
  const stored = encode(library, type, values, rows, columns);
  library.set(weight, stored, 0, stored.byteLength);
  const tokens = unevenNumbers(Math.max(...passes) * columns);
  const sums = passes.map((count) => {
    const context = newContext(library, 8, 8);
    const graph = library.newGraph(context, 8, false);
    const x = library.newTensor2(context, types.F32, columns, count);
    library.setInput(x);
    const y = library.mulMat(context, weight, x);
    library.setOutput(y);
    library.expand(graph, y);
    const allocator = library.newAllocator(cpu.plain);
    library.allocateGraph(allocator, graph);
    library.set(x, tokens, 0, count * columns * 4);
    cpu.compute(graph);
    const result = new Float32Array(count * rows);
    library.get(y, result, 0, result.byteLength);
    library.freeAllocator(allocator);
    library.free(context);
    return result;
  });
  library.freeBuffer(buffer);
  library.free(weights);
  return sums;
}

/** Numbers of different sizes whose sums round; the same each time. */
function unevenNumbers(count: number): Float32Array {
  const numbers = new Float32Array(count);
  let state = 1;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    numbers[i] = state / 2 ** 31;
  }
  return numbers;
}

/** Whether the first products agree in every bit with those of most tokens. */
function isEven(sums: readonly Float32Array[]): boolean {
  const all = sums.at(-1);
  return all !== undefined && sums.every((some) => some.every((value, i) => Object.is(value, all[i])));
}
