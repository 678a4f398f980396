/** Finds graphics cards through ggml: by Vulkan, CUDA or Metal, whichever library is here, each tried in a process of its own. */
import { existsSync } from 'node:fs';
import { ggmlProblem } from '../ggml/probe.ts';
import { gpuProbeInput, gpuProbeProgram, type SeenGpu } from '../ggml/gpu-probe.ts';
import { gpuLibrary, gpuPackage, packageVersion, type BroughtKind, type GpuKind } from '../ggml/packages.ts';
import { isSoftware, probe, type Probe } from './probe.ts';

export { ggmlProblem, packageVersion as ggmlVersion, gpuLibrary, gpuPackage, type BroughtKind, type GpuKind };

export interface Gpu extends SeenGpu {
  readonly kind: GpuKind;
  /** The additional library for this kind; null if ggml's own libraries include it. */
  readonly file: string | null;
  /** Computes on the CPU. */
  readonly software: boolean;
}

/** Kinds for this platform, in the order in which they are queried. */
export const gpuKinds: readonly GpuKind[] = (['cuda', 'metal', 'vulkan'] as const).filter((kind) =>
  kind === 'metal' ? process.platform === 'darwin' : gpuPackage(kind) !== null,
);

/** The cards of a kind in the order of `byPreference`; never an empty list. */
export async function probeGpus(kind: GpuKind, signal?: AbortSignal): Promise<Probe<Gpu[]>> {
  const file = gpuLibrary(kind);
  const seen = file === null ? { problem: absent(kind) } : await probeGpusOf(kind, file, signal);
  // Without the driver no other remedy would help.
  return 'problem' in seen && kind === 'cuda' && !hasNvidiaDriver() ? { problem: 'there is no NVIDIA driver' } : seen;
}

/** Files of NVIDIA's driver: Linux's own, and that of Windows as Linux sees it in WSL 2. */
const nvidiaDriver = ['/proc/driver/nvidia/version', '/usr/lib/wsl/lib/libcuda.so.1'];

export const hasNvidiaDriver = (files: readonly string[] = nvidiaDriver): boolean =>
  files.some((file) => existsSync(file)) || process.platform === 'win32';

/** Those that one library finds. */
export async function probeGpusOf(kind: GpuKind, file: string, signal?: AbortSignal): Promise<Probe<Gpu[]>> {
  const beside = kind === 'metal' ? null : file;
  const input = gpuProbeInput(beside);
  if (input === null) return { problem: 'ggml is not installed' };
  const seen = await probe<SeenGpu[]>(gpuProbeProgram, input, signal);
  if ('problem' in seen) return seen;
  if (seen.found.length === 0) return { problem: 'it finds no graphics card' };
  const found = seen.found.map((gpu) => ({ ...gpu, kind, file: beside, ...natureOf(kind, gpu) }));
  return { found: found.sort(byPreference) };
}

/** What computes on the CPU, and what shares its memory: on Macs with ARM each does, and says nothing of it. */
export const natureOf = (kind: GpuKind, gpu: SeenGpu): Pick<Gpu, 'software' | 'integrated'> => ({
  software: isSoftware(gpu.description),
  integrated: gpu.integrated || kind === 'metal',
});

/** Real cards first, then those that share the processor's memory, then what computes on the CPU; each with most free memory first. */
export const byPreference = (a: Gpu, b: Gpu): number =>
  Number(a.software) - Number(b.software) || Number(a.integrated) - Number(b.integrated) || b.free - a.free;

function absent(kind: GpuKind): string {
  if (kind === 'metal') return 'it is for Macs with ARM';
  return gpuPackage(kind) === null ? 'it is not for this platform' : 'its library is not installed';
}
