/** Examines what could run a model and tune exits here, reports what is missing, and installs a part on request. */
import { arch, availableParallelism, cpus, platform } from 'node:os';
import { bytesText } from '../../protocol/bytes-text.ts';
import type { DoctorEvent, Finding } from '../../protocol/events.ts';
import type { DoctorOptions } from '../../protocol/options/options.ts';
import { chooseDevice, chooseExitDevice, machine, type Probes } from '../devices/devices.ts';
import { installGpu } from '../devices/gpu-install.ts';
import {
  ggmlProblem,
  gpuLibrary,
  gpuPackage,
  hasNvidiaDriver,
  type BroughtKind,
  type Gpu,
  type GpuKind,
} from '../devices/gpus.ts';
import type { Adapter, Probe } from '../devices/probe.ts';
import type { TensorFlow, TensorFlowKind } from '../devices/tensorflow.ts';
import { installTensorFlow } from '../devices/tensorflow-install.ts';
import { commandOf, installationOf, librariesOf, thisInstallation, type Installation } from './installation.ts';

/** @throws UserError if an installation fails; the signal's reason if it was aborted. */
export async function* doctor(options: DoctorOptions, signal: AbortSignal): AsyncGenerator<DoctorEvent, void> {
  if (options.install !== 'none') yield* install(options.install, signal);
  yield { type: 'phase', phase: 'load', detail: 'looking for devices' };
  const seen = await look(signal);
  for (const finding of findingsOf(seen)) yield { type: 'finding', ...finding };
  const probes = remembered(seen);
  const device = await chooseDevice({ device: 'auto', gpuLayers: 'auto' }, null, signal, probes);
  const exitDevice = await chooseExitDevice('auto', device, signal, probes);
  const reason = `${device.reason} ${exitDevice.reason}`;
  yield { type: 'diagnosed', device: device.name, exitDevice: exitDevice.name, reason };
}

async function* install(kind: TensorFlowKind | BroughtKind, signal: AbortSignal): AsyncGenerator<DoctorEvent, void> {
  const progress = { type: 'progress', phase: 'install', unit: 'steps' } as const;
  let steps = 0;
  const isGpu = kind === 'vulkan' || kind === 'cuda';
  for await (const { detail, done, total } of isGpu ? installGpu(kind, signal) : installTensorFlow(kind, signal)) {
    yield { type: 'phase', phase: 'install', detail };
    yield { ...progress, done, total };
    steps = total;
  }
  yield { ...progress, done: steps, total: steps };
}

/** What was seen of a machine. */
export interface Seen {
  readonly installation: Installation;
  readonly platform: string;
  readonly processor: string;
  readonly threads: number;
  readonly hasNvidiaDriver: boolean;
  /** Why ggml does not compute here; null if it does. */
  readonly ggml: ReturnType<typeof ggmlProblem>;
  readonly gpus: Readonly<Record<GpuKind, Probe<Gpu[]>>>;
  readonly adapter: Probe<Adapter>;
  readonly tensorFlow: Probe<TensorFlow>;
}

async function look(signal: AbortSignal): Promise<Seen> {
  return {
    installation: thisInstallation(),
    platform: `${platform()} on ${arch()}`,
    processor: cpus()[0]?.model.trim() || 'a processor without a name',
    threads: availableParallelism(),
    hasNvidiaDriver: hasNvidiaDriver(),
    ggml: ggmlProblem(),
    gpus: {
      vulkan: await machine.gpus('vulkan', signal),
      cuda: await machine.gpus('cuda', signal),
      metal: await machine.gpus('metal', signal),
    },
    adapter: await machine.adapter(signal),
    tensorFlow: await machine.tensorFlow(signal),
  };
}

/** The probes of what was seen, so that nothing is tried twice. */
const remembered = (seen: Seen): Probes => ({
  kinds: machine.kinds,
  gpus: async (kind) => seen.gpus[kind],
  adapter: async () => seen.adapter,
  tensorFlow: async () => seen.tensorFlow,
  memory: machine.memory,
});

/** A finding for each thing that could be there. */
export function findingsOf(seen: Seen): Finding[] {
  return [
    { name: 'node', state: 'ready', detail: `${process.versions.node}, ${seen.platform}`, remedy: null },
    { name: 'cpu', state: 'ready', detail: `${seen.processor}, ${seen.threads} threads`, remedy: null },
    ggmlFinding(seen),
    ...gpuFindings(seen, 'vulkan'),
    ...gpuFindings(seen, 'cuda'),
    ...gpuFindings(seen, 'metal'),
    webgpuFinding(seen),
    tensorFlowFinding(seen),
  ];
}

function ggmlFinding({ ggml, installation }: Seen): Finding {
  const name = 'ggml';
  if (ggml === null) return { name, state: 'ready', detail: 'computes models', remedy: null };
  const { problem, packages } = ggml;
  return {
    name,
    state: packages === null ? 'unusable' : 'absent',
    detail: `${problem}; no model can be computed`,
    remedy: packages && librariesOf(installation),
  };
}

/** The cards of a kind, one per line, or why there are none. Empty if the kind is not for this platform. */
function gpuFindings({ gpus, installation, ggml, hasNvidiaDriver }: Seen, kind: GpuKind): Finding[] {
  const seen = gpus[kind];
  if ('found' in seen)
    return seen.found.map(({ description, free, total, software }) => ({
      name: kind,
      state: software ? 'unusable' : 'ready',
      detail: software
        ? `${description} computes on the CPU; taken by name only`
        : `${description}, ${bytesText(free)} of ${bytesText(total)} free`,
      remedy: null,
    }));
  if (kind === 'metal' ? process.platform !== 'darwin' : gpuPackage(kind) === null) return [];
  const finding = (state: Finding['state'], remedy: string | null): Finding[] => [
    { name: kind, state, detail: seen.problem, remedy },
  ];
  const isHopeless = kind === 'metal' || ggml !== null || (kind === 'cuda' && !hasNvidiaDriver);
  if (isHopeless) return finding('unusable', null);
  const isHere = gpuLibrary(kind) !== null;
  if (!isHere) return finding('absent', `${commandOf(installation)} doctor --install ${kind}`);
  return finding('absent', drivers[kind]);
}

/** What else a library needs. */
const drivers: Readonly<Record<BroughtKind, string>> = {
  vulkan: "install your graphics card's driver; on Linux also libvulkan1",
  cuda: 'install CUDA 13 (libcudart, libcublas) and its driver',
};

/** Exits are tuned there, no model runs there. */
function webgpuFinding({ adapter, installation }: Seen): Finding {
  const finding = (state: Finding['state'], detail: string, remedy: string | null = null): Finding => ({
    name: 'webgpu',
    state,
    detail,
    remedy,
  });
  if ('problem' in adapter) {
    const remedy = /not installed/.test(adapter.problem)
      ? installationOf('webgpu', installation)
      : "install your graphics card's driver; on Linux one for Vulkan, such as mesa-vulkan-drivers or NVIDIA's";
    return finding('absent', adapter.problem, remedy);
  }
  const { name, software } = adapter.found;
  return software
    ? finding('unusable', `${name} computes on the CPU; taken by name only`)
    : finding('ready', `${name}, for tuning exits`);
}

function tensorFlowFinding({ tensorFlow, hasNvidiaDriver, platform, installation }: Seen): Finding {
  const name = 'tensorflow';
  if ('found' in tensorFlow) {
    const { version, gpu, entry } = tensorFlow.found;
    return { name, state: 'ready', detail: `${version} on the ${gpu ? 'GPU' : 'CPU'}, ${entry}`, remedy: null };
  }
  const remedy = platform.startsWith('linux on x64')
    ? `${commandOf(installation)} doctor --install ${hasNvidiaDriver ? 'tensorflow-gpu' : 'tensorflow'}`
    : installationOf('@tensorflow/tfjs-node', installation);
  return { name, state: 'absent', detail: tensorFlow.problem, remedy };
}
