/** The CPU as a device of ggml: its buffer types (those that repack weights first) and its threads. Knows no model. */
import { availableParallelism } from 'node:os';
import type { Backend, BufferType, Device, Library, ThreadPool } from './library.ts';
import { choosePlacement, fewRows, placementForMany, tokensAlone, triedExperts } from './placement.ts';
import { newLargePages } from './large-pages.ts';
import { ProcessorFailure, type ManyPlacement, type Placement, type Processor } from './processor.ts';
import { newGovernor } from './threads.ts';

/** `enum ggml_backend_dev_type`. */
const cpuType = 0;
/** Threads sleep soon after a graph, so that the rest of the program has the cores; waking them takes some microseconds. */
const defaultPolling = 1;
/** Bytes of `struct ggml_threadpool_params`: a mask of 512 threads, then threads, priority, polling and two flags. */
const poolParameters = { size: 528, threads: 512, polling: 520 } as const;

/**
 * Opens the CPU with `threads` threads. `polling` from 0 (sleep between operators) to 100: how long threads wait awake.
 * @throws Error if the libraries have no CPU for this machine.
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
  const setThreadsOf = extra<(b: Backend, n: number) => void>('ggml_backend_set_n_threads', 'void', 'void *b, int n');
  const setThreads = changing((n: number) => setThreadsOf(backend, n));
  const governor = newGovernor(threads);
  const largePages = newLargePages((from, bytes) => library.collapse(from, bytes));
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
  const useReferenceOf = extra<(b: Backend, on: boolean) => void>(
    'ggml_backend_cpu_set_use_ref',
    'void',
    'void *b, bool on',
  );
  const useReference = changing((on: boolean) => useReferenceOf(backend, on));
  const plain = library.deviceBufferType(device);
  const lists = library.extra<(d: Device) => bigint>(registry, 'ggml_backend_dev_get_extra_bufts', 'void *', 'void *d');
  const repacking = lists === null ? [] : library.list<BufferType>(lists(device));
  const placements = new Map<string, Omit<Placement, 'alone'>>();
  const placementsForMany = new Map<string, ManyPlacement>();
  useReference(true);
  const cpu: Processor = {
    library,
    name: 'CPU',
    isGpu: false,
    plain,
    largePages,
    place(type, columns, rows, experts = 1) {
      const few = fewRows(rows);
      const tried = Math.min(experts, triedExperts);
      const key = `${type}/${columns}/${few}/${tried}`;
      let placement = placements.get(key);
      if (placement === undefined) {
        placement = choosePlacement(cpu, device, repacking, { type, columns, rows: few, experts: tried });
        placements.set(key, placement);
      }
      const { bufferType, type: own } = placement;
      const alone = experts === 1 ? tokensAlone(library.bufferTypeName(bufferType), own, rows * columns) : 1;
      return { ...placement, alone };
    },
    supports: (tensor) => library.deviceSupports(device, tensor),
    placeForMany(type, columns, rows) {
      const few = fewRows(rows);
      const key = `${type}/${columns}/${few}`;
      let placement = placementsForMany.get(key);
      if (placement === undefined) {
        placement = placementForMany(cpu, device, repacking, { type, columns, rows: few, experts: 1 });
        placementsForMany.set(key, placement);
      }
      return placement;
    },
    compute(graph) {
      const used = governor.count();
      setThreads(used);
      const before = governor.isJudging() ? process.cpuUsage() : null;
      const started = performance.now();
      const status = library.compute(backend, graph);
      const wall = performance.now() - started;
      if (before) {
        const { user, system } = process.cpuUsage(before);
        governor.took(used, wall, (user + system) / 1000);
      }
      largePages.computed(wall);
      if (status !== 0) throw new ProcessorFailure(`ggml could not compute a graph (status ${status})`);
    },
    setTiled: (tiled) => useReference(!tiled),
  };
  return cpu;
}

/** A setter that is called only if its value changes: behind a graph that has filled the caches each call takes microseconds. */
function changing<T>(set: (value: T) => void): (value: T) => void {
  let last: T | null = null;
  return (value) => {
    if (value !== last) set(value);
    last = value;
  };
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
