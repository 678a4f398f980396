import { describe, expect, test } from 'vitest';
import { gpuPackage, hasNvidiaDriver, probeGpus, type Gpu } from '../../../backend/devices/gpus.ts';
import { findingsOf, type Seen } from '../../../backend/recipes/doctor.ts';
import type { Finding } from '../../../protocol/events.ts';

const absent = { problem: 'its library is not installed' };

const nothing: Seen = {
  installation: { kind: 'npm', root: '/global/early-exit' },
  platform: 'linux on x64',
  processor: 'Xeon',
  threads: 2,
  hasNvidiaDriver: false,
  ggml: null,
  gpus: { vulkan: absent, cuda: absent, metal: { problem: 'it is for Macs' } },
  adapter: { problem: 'there is no graphics driver that WebGPU can use' },
  tensorFlow: { problem: 'it is not installed' },
};

const finding = (name: string, seen: Partial<Seen>): Finding | undefined =>
  findingsOf({ ...nothing, ...seen }).find((each) => each.name === name);

test('a machine with a CPU alone', () => {
  expect(findingsOf(nothing).map(({ name, state }) => `${name} ${state}`)).toEqual([
    'node ready',
    'cpu ready',
    'ggml ready',
    ...(gpuPackage('vulkan') ? ['vulkan absent', 'cuda unusable'] : []),
    'webgpu absent',
    'tensorflow absent',
  ]);
  expect(finding('cpu', {})?.detail).toBe('Xeon, 2 threads');
  expect(finding('tensorflow', {})?.remedy).toBe('early-exit doctor --install tensorflow');
});

test('a machine without the libraries of ggml, or where it does not run', () => {
  const problem = 'the package @early-exit/linux-x64 is not installed';
  const installation = { kind: 'clone', root: '/clone' } as const;
  const absent = finding('ggml', { installation, ggml: { problem, packages: '@early-exit/linux-x64' } });
  expect(absent).toMatchObject({ state: 'absent', detail: `${problem}; no model can be computed` });
  expect(absent?.remedy).toBe('npm ci');
  expect(finding('ggml', { ggml: { problem: 'ggml crashed', packages: null } })).toMatchObject({ state: 'unusable' });
});

const card: Gpu = {
  kind: 'vulkan',
  file: 'libggml-vulkan.so',
  name: 'Vulkan0',
  description: 'RTX 4090',
  free: 20e9,
  total: 24e9,
  software: false,
  integrated: false,
};

test.skipIf(gpuPackage('vulkan') === null)('cards with their memory, and how to get what is missing', () => {
  const gpus = { ...nothing.gpus, vulkan: { found: [card, { ...card, description: 'llvmpipe', software: true }] } };
  const lines = findingsOf({ ...nothing, gpus }).filter(({ name }) => name === 'vulkan');
  expect(lines).toEqual([
    { name: 'vulkan', state: 'ready', detail: 'RTX 4090, 20.0 GB of 24.0 GB free', remedy: null },
    { name: 'vulkan', state: 'unusable', detail: 'llvmpipe computes on the CPU; taken by name only', remedy: null },
  ]);
  expect(finding('vulkan', {})?.remedy).toBe('early-exit doctor --install vulkan');
  expect(finding('cuda', { hasNvidiaDriver: true })).toMatchObject({
    state: 'absent',
    remedy: 'early-exit doctor --install cuda',
  });
  expect(finding('tensorflow', { hasNvidiaDriver: true })?.remedy).toBe('early-exit doctor --install tensorflow-gpu');
});

test.skipIf(hasNvidiaDriver() || gpuPackage('cuda') === null)('one reason why there is no CUDA', async () => {
  const cuda = await probeGpus('cuda');
  expect(cuda).toEqual({ problem: 'there is no NVIDIA driver' });
  expect(finding('cuda', { gpus: { ...nothing.gpus, cuda } })?.detail).toBe('there is no NVIDIA driver');
});

describe('webgpu', () => {
  test.each([
    [
      { adapter: { problem: 'the package webgpu is not installed' } },
      'absent',
      'npm install --no-save --omit=dev --prefix "/global/early-exit" webgpu',
    ],
    [{ adapter: { found: { name: 'SwiftShader', software: true } } }, 'unusable', null],
    [{ adapter: { found: { name: 'arc', software: false } } }, 'ready', null],
  ] as const)('%j', (seen, state, remedy) => {
    expect(finding('webgpu', seen)).toMatchObject({ state, remedy });
  });
});
