/** Looks at what could run a model and tune exits here, says what is missing, and brings TensorFlow where asked to. */
import { existsSync } from 'node:fs';
import { arch, availableParallelism, cpus, platform } from 'node:os';
import type { DoctorEvent, Finding } from '../../protocol/events.ts';
import type { DoctorOptions } from '../../protocol/options.ts';
import { chooseDevice, chooseExitDevice, machine, type Probes } from '../devices/devices.ts';
import { probeRuntime, runtimeFolder, type Adapter, type Probe } from '../devices/probe.ts';
import type { TensorFlow, TensorFlowKind } from '../devices/tensorflow.ts';
import { installTensorFlow } from '../devices/tensorflow-install.ts';
import { ggmlProblem } from '../runtime/engines.ts';
import { commandOf, installationOf, thisInstallation, type Installation } from './installation.ts';

/** @throws UserError where an installation cannot be done; the signal's reason where it was aborted. */
export async function* doctor(options: DoctorOptions, signal: AbortSignal): AsyncGenerator<DoctorEvent, void> {
  if (options.install !== 'none') yield* install(options.install, signal);
  yield { type: 'phase', phase: 'load', detail: 'looking for devices' };
  const seen = await look(signal);
  for (const finding of findingsOf(seen)) yield { type: 'finding', ...finding };
  const probes = remembered(seen);
  const device = await chooseDevice('auto', signal, probes);
  const exitDevice = await chooseExitDevice('auto', device, signal, probes);
  const reason = `${device.reason} ${exitDevice.reason}`;
  yield { type: 'diagnosed', device: device.name, exitDevice: exitDevice.name, reason };
}

async function* install(kind: TensorFlowKind, signal: AbortSignal): AsyncGenerator<DoctorEvent, void> {
  const progress = { type: 'progress', phase: 'install', unit: 'steps' } as const;
  let steps = 0;
  for await (const { detail, done, total } of installTensorFlow(kind, signal)) {
    yield { type: 'phase', phase: 'install', detail };
    yield { ...progress, done, total };
    steps = total;
  }
  yield { ...progress, done: steps, total: steps };
}

/** What was seen of a machine. A provider is null where ONNX Runtime's package has none for this platform. */
export interface Seen {
  readonly installation: Installation;
  /** Where ONNX Runtime's libraries lie. */
  readonly runtimeFolder: string;
  readonly platform: string;
  readonly processor: string;
  readonly threads: number;
  readonly hasNvidiaDriver: boolean;
  readonly hasCudaLibraries: boolean;
  /** Why ggml does not compute here; null where it does. */
  readonly ggml: ReturnType<typeof ggmlProblem>;
  readonly adapter: Probe<Adapter>;
  readonly webgpu: Probe<null> | null;
  readonly cuda: Probe<null> | null;
  readonly dml: Probe<null> | null;
  readonly coreml: Probe<null> | null;
  readonly tensorFlow: Probe<TensorFlow>;
}

async function look(signal: AbortSignal): Promise<Seen> {
  const runtime = await probeRuntime(signal);
  const names = 'found' in runtime ? runtime.found.map(({ name }) => name) : [];
  const adapter = await machine.adapter(signal);
  const has = (name: string): boolean => names.includes(name);
  return {
    installation: thisInstallation(),
    runtimeFolder: runtimeFolder() ?? 'the folder of ONNX Runtime',
    platform: `${platform()} on ${arch()}`,
    processor: cpus()[0]?.model.trim() || 'a processor without a name',
    threads: availableParallelism(),
    hasNvidiaDriver: existsSync('/proc/driver/nvidia/version') || platform() === 'win32',
    hasCudaLibraries: machine.hasCudaLibraries(),
    ggml: ggmlProblem(),
    adapter,
    webgpu: has('webgpu') ? ('found' in adapter ? await machine.provider('webgpu', signal) : adapter) : null,
    cuda: has('cuda') ? await machine.provider('cuda', signal) : null,
    dml: has('dml') ? await machine.provider('dml', signal) : null,
    coreml: has('coreml') ? await machine.provider('coreml', signal) : null,
    tensorFlow: await machine.tensorFlow(signal),
  };
}

/** The probes of what was seen, so that nothing is tried twice. */
const remembered = (seen: Seen): Probes => ({
  adapter: async () => seen.adapter,
  provider: async (provider) => (provider === 'cpu' ? { found: null } : (seen[provider] ?? { problem: absent(seen) })),
  hasCudaLibraries: () => seen.hasCudaLibraries,
  tensorFlow: async () => seen.tensorFlow,
});

const absent = ({ platform }: Seen): string => `ONNX Runtime's package has none for ${platform}`;

/** A finding for each thing that could be there. */
export function findingsOf(seen: Seen): Finding[] {
  const simple = (name: 'dml' | 'coreml'): Finding[] => {
    const result = seen[name];
    if (result === null) return [];
    const state = 'found' in result ? 'ready' : 'unusable';
    return [{ name, state, detail: 'found' in result ? 'taken by name only' : result.problem, remedy: null }];
  };
  return [
    { name: 'node', state: 'ready', detail: `${process.versions.node}, ${seen.platform}`, remedy: null },
    { name: 'cpu', state: 'ready', detail: `${seen.processor}, ${seen.threads} threads`, remedy: null },
    ggmlFinding(seen),
    webgpuFinding(seen),
    ...(seen.cuda === null ? [] : [cudaFinding(seen, seen.cuda)]),
    ...simple('dml'),
    ...simple('coreml'),
    tensorFlowFinding(seen),
  ];
}

function ggmlFinding({ ggml, installation }: Seen): Finding {
  const name = 'ggml';
  if (ggml === null) return { name, state: 'ready', detail: 'computes models on the CPU', remedy: null };
  const { problem, packages } = ggml;
  return {
    name,
    state: packages === null ? 'unusable' : 'absent',
    detail: `${problem}; ONNX Runtime computes models on the CPU`,
    remedy: packages && installationOf(packages, installation),
  };
}

function webgpuFinding(seen: Seen): Finding {
  const { adapter, webgpu } = seen;
  const finding = (state: Finding['state'], detail: string, remedy: string | null = null): Finding => ({
    name: 'webgpu',
    state,
    detail,
    remedy,
  });
  if (webgpu === null) return finding('unusable', absent(seen));
  if ('problem' in adapter) {
    const remedy = /not installed/.test(adapter.problem)
      ? installationOf('webgpu', seen.installation)
      : "install your graphics card's driver; on Linux one for Vulkan, such as mesa-vulkan-drivers or NVIDIA's";
    return finding('absent', adapter.problem, remedy);
  }
  const { name, software } = adapter.found;
  if ('problem' in webgpu) return finding('unusable', `${name}: ${webgpu.problem}`);
  return software ? finding('unusable', `${name} computes on the CPU; taken by name only`) : finding('ready', name);
}

function cudaFinding({ hasNvidiaDriver, hasCudaLibraries, runtimeFolder }: Seen, cuda: Probe<null>): Finding {
  const name = 'cuda';
  if ('found' in cuda) return { name, state: 'ready', detail: "ONNX Runtime's CUDA provider", remedy: null };
  if (!hasNvidiaDriver) return { name, state: 'unusable', detail: 'there is no NVIDIA driver', remedy: null };
  if (hasCudaLibraries) {
    return { name, state: 'unusable', detail: cuda.problem, remedy: 'install CUDA 12 and cuDNN 9' };
  }
  return {
    name,
    state: 'absent',
    detail: "ONNX Runtime's libraries for CUDA are not here",
    remedy: `copy libonnxruntime_providers_{shared,cuda}.so from the NuGet package Microsoft.ML.OnnxRuntime.Gpu.Linux, a zip file, to ${runtimeFolder}`,
  };
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
