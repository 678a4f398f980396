/**
 * Chooses the devices on which a model runs and its exits are tuned, and says why. Knows cards and how much of a model fits them. It
 * returns only devices that were tried in a process of their own.
 */
import { totalmem } from 'node:os';
import { bytesText } from '../../protocol/bytes-text.ts';
import { userError, type UserError } from '../../protocol/errors.ts';
import type { GpuKind } from '../ggml/packages.ts';
import { bytesOfLayers, layersThatFit, type Needs } from './fit.ts';
import { gpuKinds, probeGpus, type Gpu } from './gpus.ts';
import { probeAdapter, type Adapter, type Probe } from './probe.ts';
import { findTensorFlow, type TensorFlow } from './tensorflow.ts';

export interface Device {
  readonly kind: 'cpu' | GpuKind;
  /** The card, and how many of the model's layers it computes, from the first on; null: the CPU computes all. */
  readonly share: { readonly gpu: Gpu; readonly layers: number } | null;
  /** As a person reads it: `vulkan: NVIDIA GeForce RTX 4090`. */
  readonly name: string;
  /** Why this one, as a sentence. */
  readonly reason: string;
  /** The user named it: it is not replaced if it fails. */
  readonly named: boolean;
  /** Why the CPU cannot take over if the card fails; absent if it can. */
  readonly noFallback?: UserError;
}

/** The engine that tunes exits: `compiled` on the CPU, or TensorFlow.js on a backend. */
export type ExitDevice =
  | { readonly kind: 'compiled'; readonly name: string; readonly reason: string }
  | { readonly kind: 'webgpu'; readonly name: string; readonly reason: string }
  | { readonly kind: 'tensorflow'; readonly name: string; readonly reason: string; readonly tensorFlow: TensorFlow };

/** How devices are queried; a test passes its own. */
export interface Probes {
  /** Kinds of cards for the platform, in the order in which they are queried. */
  readonly kinds: readonly GpuKind[];
  readonly gpus: (kind: GpuKind, signal?: AbortSignal) => Promise<Probe<Gpu[]>>;
  readonly adapter: (signal?: AbortSignal) => Promise<Probe<Adapter>>;
  readonly tensorFlow: (signal?: AbortSignal) => Promise<Probe<TensorFlow>>;
  /** Bytes that programs may take of this machine. */
  readonly memory: () => number;
}

export const machine: Probes = {
  kinds: gpuKinds,
  gpus: probeGpus,
  adapter: probeAdapter,
  tensorFlow: findTensorFlow,
  // A container's limit, if it has one: without, the number is 0 or larger than the machine's.
  memory: () => Math.min(totalmem(), process.constrainedMemory() || Infinity),
};

export interface DeviceWish {
  readonly device: 'auto' | 'cpu' | GpuKind;
  /** Layers of the model on a card. */
  readonly gpuLayers: 'auto' | number;
  /** For whole windows, which one processor reads: a card that does not get all layers gets none. */
  readonly whole?: boolean;
}

/** What must fit a card; if there is no model yet, anything fits. */
type Room = Needs | null;

/**
 * The device of a model. `auto` takes the first real GPU that has room, CUDA and Metal before Vulkan, else the CPU; a GPU that computes on
 * the CPU itself is taken only by name.
 * @throws UserError `device` if the named one cannot be used, `out-of-memory` if what was requested does not fit it, or if the rest does
 * not fit the CPU.
 */
export async function chooseDevice(
  wish: DeviceWish,
  needs: Room,
  signal?: AbortSignal,
  probes: Probes = machine,
): Promise<Device> {
  const device = await deviceFor(wish, needs, signal, probes);
  if (needs === null) return device;
  const memory = probes.memory();
  const problem = memoryProblem(needs, device.share, memory);
  if (problem !== null) throw problem;
  const noFallback = memoryProblem(needs, null, memory);
  return noFallback === null ? device : { ...device, noFallback };
}

/** An `out-of-memory` if what is not in a card's own memory needs more than the machine has; else null. */
function memoryProblem(needs: Needs, share: Device['share'], memory: number): UserError | null {
  const hasOwn = share !== null && !share.gpu.integrated && !share.gpu.software;
  const all = bytesOfLayers(needs, needs.layers.length);
  const takes = hasOwn ? all - bytesOfLayers(needs, share.layers) : all;
  if (takes <= memory) return null;
  const { asStored } = needs;
  return userError(
    'out-of-memory',
    `${hasOwn ? 'The layers that the CPU computes take' : 'The model takes'} ${bytesText(takes)} of memory, and this machine has ${bytesText(memory)}.`,
    asStored !== null && asStored <= memory
      ? `With precision fast it takes ${bytesText(asStored)}.`
      : 'Take a smaller model, or a GGUF file of it in smaller blocks, such as Q4_K_M.',
  );
}

async function deviceFor(
  { device, gpuLayers, whole = false }: DeviceWish,
  needs: Room,
  signal: AbortSignal | undefined,
  probes: Probes,
): Promise<Device> {
  if (device === 'cpu') return onCpu('The CPU was requested.', true);
  if (gpuLayers === 0) return onCpu('No layers on a GPU were requested.', true);
  const all = needs?.layers.length ?? 0;
  const fewest = whole ? Math.max(1, all) : 1;
  const problems: string[] = [];
  for (const kind of device === 'auto' ? probes.kinds : [device]) {
    const found = await probes.gpus(kind, signal);
    if ('problem' in found) {
      problems.push(`${titles[kind]}: ${found.problem}`);
      continue;
    }
    const usable = device === 'auto' ? found.found.filter(({ software }) => !software) : found.found;
    const least = gpuLayers === 'auto' ? fewest : Math.min(gpuLayers, all);
    const hasRoom = (each: Gpu): boolean => needs === null || layersThatFit(needs, each) >= least;
    const gpu = usable.find((each) => !each.software && hasRoom(each)) ?? usable[0];
    if (gpu === undefined) {
      problems.push(`${titles[kind]}: ${found.found[0]!.description} computes on the CPU`);
      continue;
    }
    const layers = layersOn(gpu, gpuLayers, needs);
    if (layers >= fewest) return onGpu(gpu, layers, needs, device !== 'auto');
    const inPart = `${gpu.description} would compute ${layers} of ${all} layers, and windows are read whole`;
    if (layers > 0 && device !== 'auto') return onCpu(`${inPart}.`, true);
    problems.push(`${titles[kind]}: ${layers > 0 ? inPart : noRoom(gpu, needs!)}`);
  }
  const why = problems.map((each) => `${each.replace(/\.$/, '')}.`).join(' ');
  if (device === 'auto') return onCpu(`There is no GPU to use. ${why}`, false);
  throw unusable(device, problems[0]!.slice(titles[device].length + 2));
}

const titles: Readonly<Record<GpuKind, string>> = { cuda: 'CUDA', metal: 'Metal', vulkan: 'Vulkan' };

const onCpu = (reason: string, named: boolean): Device => ({ kind: 'cpu', share: null, name: 'cpu', reason, named });

function onGpu(gpu: Gpu, layers: number, needs: Room, named: boolean): Device {
  const all = needs?.layers.length ?? 0;
  const name = `${gpu.kind}: ${gpu.description}`;
  const free = `${gpu.description} has ${bytesText(gpu.free)} free`;
  const sort = gpu.software ? 'It was requested' : `It is a real GPU`;
  if (needs === null) return { kind: gpu.kind, share: { gpu, layers }, name, reason: `${free}. ${sort}.`, named };
  const takes = bytesText(bytesOfLayers(needs, layers));
  return layers >= all
    ? { kind: gpu.kind, share: { gpu, layers: all }, name, reason: `${free}, and the model takes ${takes}.`, named }
    : {
        kind: gpu.kind,
        share: { gpu, layers },
        name: `${name}, ${layers} of ${all} layers`,
        reason: `${free}: ${layers} of ${all} layers take ${takes} of it, the rest runs on the CPU.`,
        named,
      };
}

/** @throws UserError `out-of-memory` if more was requested than fits. */
function layersOn(gpu: Gpu, wanted: 'auto' | number, needs: Room): number {
  if (needs === null) return Infinity;
  const fitting = layersThatFit(needs, gpu);
  const all = needs.layers.length;
  const layers = wanted === 'auto' ? fitting : Math.min(wanted, all);
  if (layers > fitting && wanted !== 'auto')
    throw userError(
      'out-of-memory',
      `${layers === all ? 'The model takes' : `${layers} layers take`} ${bytesText(bytesOfLayers(needs, layers))}, but ${gpu.description} has ${bytesText(gpu.free)} free.`,
      fitting === 0 ? 'Use --device cpu.' : `${fitting} of ${all} layers would fit: use --gpu-layers ${fitting}.`,
    );
  return layers;
}

const noRoom = (gpu: Gpu, needs: Needs): string =>
  `${gpu.description} has ${bytesText(gpu.free)} free, too little for a layer of ${bytesText(needs.layers[0] ?? 0)} and what passes compute in`;

/**
 * The device on which exits are tuned. `auto` follows the model: if the model is on a GPU, a TensorFlow that sees one, or WebGPU; else the
 * CPU, where the compiled step is faster than any tfjs backend.
 * @throws UserError `device` if the named one cannot be used.
 */
export async function chooseExitDevice(
  wanted: 'auto' | 'cpu' | 'webgpu' | 'tensorflow',
  device: Pick<Device, 'kind'>,
  signal?: AbortSignal,
  probes: Probes = machine,
): Promise<ExitDevice> {
  const compiled = (reason: string): ExitDevice => ({ kind: 'compiled', name: 'cpu', reason });
  switch (wanted) {
    case 'cpu':
      return compiled('The CPU was requested.');
    case 'webgpu': {
      const adapter = await probes.adapter(signal);
      if ('problem' in adapter) throw unusable('webgpu', adapter.problem);
      return { kind: 'webgpu', name: `webgpu: ${adapter.found.name}`, reason: 'webgpu was requested.' };
    }
    case 'tensorflow': {
      const tensorFlow = await probes.tensorFlow(signal);
      if ('problem' in tensorFlow) throw unusable('tensorflow', tensorFlow.problem);
      return { ...onTensorFlow(tensorFlow.found), reason: 'tensorflow was requested.' };
    }
    case 'auto': {
      if (device.kind === 'cpu') return compiled('The compiled step is the fastest way on the CPU.');
      if (device.kind === 'cuda') {
        const tensorFlow = await probes.tensorFlow(signal);
        if ('found' in tensorFlow && tensorFlow.found.gpu)
          return { ...onTensorFlow(tensorFlow.found), reason: 'TensorFlow is here and sees a GPU.' };
      }
      const adapter = await probes.adapter(signal);
      if ('problem' in adapter) return compiled(`WebGPU cannot tune exits: ${adapter.problem}.`);
      if (adapter.found.software) return compiled(`WebGPU has ${adapter.found.name} alone, which computes on the CPU.`);
      const name = `webgpu: ${adapter.found.name}`;
      return { kind: 'webgpu', name, reason: 'Exits are tuned on a GPU as the model runs on one.' };
    }
  }
}

const onTensorFlow = (tensorFlow: TensorFlow): Omit<Extract<ExitDevice, { kind: 'tensorflow' }>, 'reason'> => ({
  kind: 'tensorflow',
  name: `tensorflow ${tensorFlow.version} on the ${tensorFlow.gpu ? 'GPU' : 'CPU'}`,
  tensorFlow,
});

const unusable = (device: string, problem: string): Error =>
  userError(
    'device',
    `The device ${device} cannot be used: ${problem.replace(/\.$/, '')}.`,
    'See "early-exit doctor" for what is missing, or leave the device to auto.',
  );
