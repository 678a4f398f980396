/**
 * Chooses where a model runs and where its exits are tuned, and says why. Knows providers and adapters, no model; what it has
 * not tried in a process of its own it does not hand out.
 */
import { userError } from '../../protocol/errors.ts';
import type { Provider } from '../onnx/operators.ts';
import { hasCudaLibraries, probeAdapter, probeProvider, type Adapter, type Probe } from './probe.ts';
import { findTensorFlow, type TensorFlow } from './tensorflow.ts';

export interface Device {
  readonly provider: Provider;
  /** As a person reads it: `webgpu: NVIDIA GeForce RTX 4090`. */
  readonly name: string;
  /** Why this one, as a sentence. */
  readonly reason: string;
  /** The user named it: it is not replaced where it fails. */
  readonly named: boolean;
}

/** Where exits are tuned: `compiled` on the CPU, or by TensorFlow.js on a backend. */
export type ExitDevice =
  | { readonly kind: 'compiled'; readonly name: string; readonly reason: string }
  | { readonly kind: 'webgpu'; readonly name: string; readonly reason: string }
  | { readonly kind: 'tensorflow'; readonly name: string; readonly reason: string; readonly tensorFlow: TensorFlow };

/** How devices are asked; a test brings its own. */
export interface Probes {
  readonly adapter: (signal?: AbortSignal) => Promise<Probe<Adapter>>;
  readonly provider: (provider: Provider, signal?: AbortSignal) => Promise<Probe<null>>;
  readonly hasCudaLibraries: () => boolean;
  readonly tensorFlow: (signal?: AbortSignal) => Promise<Probe<TensorFlow>>;
}

export const machine: Probes = {
  adapter: probeAdapter,
  provider: probeProvider,
  hasCudaLibraries,
  tensorFlow: findTensorFlow,
};

/**
 * The device of a model. `auto` takes CUDA where its libraries are, else a real GPU through WebGPU, else the CPU; a software
 * adapter is taken only by name.
 * @throws UserError `device` where the named one cannot be used.
 */
export async function chooseDevice(
  wanted: 'auto' | Provider,
  signal?: AbortSignal,
  probes: Probes = machine,
): Promise<Device> {
  if (wanted === 'auto') return chooseAutomatically(probes, signal);
  if (wanted === 'cpu') return { provider: 'cpu', name: 'cpu', reason: 'The CPU was asked for.', named: true };
  const result = await probes.provider(wanted, signal);
  if ('problem' in result) throw unusable(wanted, result.problem);
  const adapter = wanted === 'webgpu' ? await probes.adapter(signal) : null;
  const name = adapter && 'found' in adapter ? `webgpu: ${adapter.found.name}` : wanted;
  return { provider: wanted, name, reason: `${wanted} was asked for.`, named: true };
}

async function chooseAutomatically(probes: Probes, signal?: AbortSignal): Promise<Device> {
  const problems: string[] = [];
  if (probes.hasCudaLibraries()) {
    const cuda = await probes.provider('cuda', signal);
    if ('found' in cuda) {
      const reason = 'CUDA is the first choice, and its libraries are here.';
      return { provider: 'cuda', name: 'cuda', reason, named: false };
    }
    problems.push(`CUDA: ${cuda.problem}`);
  }
  const adapter = await probes.adapter(signal);
  if ('problem' in adapter) problems.push(`WebGPU: ${adapter.problem}`);
  else if (adapter.found.software) problems.push(`WebGPU: ${adapter.found.name} computes on the CPU`);
  else {
    const webgpu = await probes.provider('webgpu', signal);
    if ('found' in webgpu) {
      const { name } = adapter.found;
      return { provider: 'webgpu', name: `webgpu: ${name}`, reason: `${name} is a real GPU.`, named: false };
    }
    problems.push(`WebGPU on ${adapter.found.name}: ${webgpu.problem}`);
  }
  return { provider: 'cpu', name: 'cpu', reason: `There is no GPU to use. ${sentences(problems)}`, named: false };
}

/**
 * Where exits are tuned. `auto` follows the model: WebGPU to WebGPU, CUDA to a TensorFlow that sees a GPU, else the CPU,
 * where the compiled step is faster than any tfjs backend.
 * @throws UserError `device` where the named one cannot be used.
 */
export async function chooseExitDevice(
  wanted: 'auto' | 'cpu' | 'webgpu' | 'tensorflow',
  device: Device,
  signal?: AbortSignal,
  probes: Probes = machine,
): Promise<ExitDevice> {
  const compiled = (reason: string): ExitDevice => ({ kind: 'compiled', name: 'cpu', reason });
  switch (wanted) {
    case 'cpu':
      return compiled('The CPU was asked for.');
    case 'webgpu': {
      const adapter = await probes.adapter(signal);
      if ('problem' in adapter) throw unusable('webgpu', adapter.problem);
      return { kind: 'webgpu', name: `webgpu: ${adapter.found.name}`, reason: 'webgpu was asked for.' };
    }
    case 'tensorflow': {
      const tensorFlow = await probes.tensorFlow(signal);
      if ('problem' in tensorFlow) throw unusable('tensorflow', tensorFlow.problem);
      return { ...onTensorFlow(tensorFlow.found), reason: 'tensorflow was asked for.' };
    }
    case 'auto': {
      if (device.provider === 'webgpu') {
        const adapter = await probes.adapter(signal);
        if ('problem' in adapter) return compiled(`WebGPU cannot tune exits: ${adapter.problem}.`);
        return { kind: 'webgpu', name: device.name, reason: 'Exits are tuned where the model runs.' };
      }
      if (device.provider === 'cuda') {
        const tensorFlow = await probes.tensorFlow(signal);
        if ('problem' in tensorFlow) return compiled(`TensorFlow is not here: ${tensorFlow.problem}.`);
        if (tensorFlow.found.gpu)
          return { ...onTensorFlow(tensorFlow.found), reason: 'TensorFlow is here and sees a GPU.' };
        return compiled('The TensorFlow that is here sees no GPU.');
      }
      return compiled('The compiled step is the fastest way on the CPU.');
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

const sentences = (problems: readonly string[]): string =>
  problems.map((each) => `${each.replace(/\.$/, '')}.`).join(' ');
