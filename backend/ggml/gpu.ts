/**
 * A GPU as a device of ggml: Vulkan, CUDA or Metal, all through the same functions. Weights, keys and values are in its own memory. Knows
 * no model. Calls that may end the process are first tried in another process.
 */
import type { Backend, Device, Graph, Library } from './library.ts';
import { ProcessorFailure, type Processor } from './processor.ts';

/** Which GPU, among those that a library of ggml has. */
export interface GpuName {
  /** The additional library for this kind; null if ggml's own libraries include it. */
  readonly file: string | null;
  /** ggml's, such as `Vulkan0`. */
  readonly name: string;
}

/** @throws ProcessorFailure if it is not there any more. */
export function openGpu(library: Library, { file, name }: GpuName): Processor {
  const device = findGpu(library, file, name);
  if (device === null) throw new ProcessorFailure(`${name} is not there any more`);
  const backend: Backend | null = library.initDevice(device, null);
  if (backend === null) throw new ProcessorFailure(`${name} cannot be opened`);
  const bufferType = library.deviceBufferType(device);
  return {
    library,
    name,
    isGpu: true,
    plain: bufferType,
    largePages: null,
    place: (type) => ({ type, bufferType, few: null, isEven: false, alone: 1 }),
    placeForMany: (type) => ({ type, bufferType }),
    supports: (tensor) => library.deviceSupports(device, tensor),
    compute(graph: Graph) {
      const status = library.compute(backend, graph);
      if (status !== 0) throw new ProcessorFailure(`it could not compute a graph (status ${status})`);
    },
    setTiled: () => undefined,
  };
}

const loaded = new Set<string>();

function findGpu(library: Library, file: string | null, name: string): Device | null {
  if (library.deviceCount() === 0) library.loadAll(library.folder);
  if (file !== null && !loaded.has(file)) {
    if (library.load(file) === null) throw new ProcessorFailure(`${file} cannot be loaded`);
    loaded.add(file);
  }
  const devices = Array.from({ length: library.deviceCount() }, (_, i) => library.device(i));
  return devices.find((device) => library.deviceName(device) === name) ?? null;
}
