import { describe, expect, test } from 'vitest';
import { findingsOf, type Seen } from '../../../backend/recipes/doctor.ts';
import type { Finding } from '../../../protocol/events.ts';

const nothing: Seen = {
  installation: { kind: 'npm', root: '/global/early-exit' },
  runtimeFolder: '/global/early-exit/dist/node_modules/onnxruntime-node/bin',
  platform: 'linux on x64',
  processor: 'Xeon',
  threads: 2,
  hasNvidiaDriver: false,
  hasCudaLibraries: false,
  ggml: null,
  adapter: { problem: 'there is no graphics driver that WebGPU can use' },
  webgpu: { problem: 'there is no graphics driver that WebGPU can use' },
  cuda: { problem: 'Failed to load shared library' },
  dml: null,
  coreml: null,
  tensorFlow: { problem: 'it is not installed' },
};

const finding = (name: string, seen: Partial<Seen>): Finding | undefined =>
  findingsOf({ ...nothing, ...seen }).find((each) => each.name === name);

test('a machine with a CPU alone', () => {
  expect(findingsOf(nothing).map(({ name, state }) => `${name} ${state}`)).toEqual([
    'node ready',
    'cpu ready',
    'ggml ready',
    'webgpu absent',
    'cuda unusable',
    'tensorflow absent',
  ]);
  expect(finding('cpu', {})?.detail).toBe('Xeon, 2 threads');
  expect(finding('tensorflow', {})?.remedy).toBe('early-exit doctor --install tensorflow');
});

test('a machine without the packages of ggml, or where it does not run', () => {
  const problem = 'the optional package koffi is not installed';
  const absent = finding('ggml', { ggml: { problem, packages: 'koffi @node-llama-cpp/linux-x64@3.21.1' } });
  expect(absent).toMatchObject({ state: 'absent', detail: `${problem}; ONNX Runtime computes models on the CPU` });
  expect(absent?.remedy).toBe(
    'npm install --no-save --omit=dev --prefix "/global/early-exit" koffi @node-llama-cpp/linux-x64@3.21.1',
  );
  expect(finding('ggml', { ggml: { problem: 'ggml crashed', packages: null } })).toMatchObject({ state: 'unusable' });
});

test('a machine with an NVIDIA card and no libraries of CUDA', () => {
  const seen: Partial<Seen> = { hasNvidiaDriver: true, adapter: { found: { name: 'h100', software: false } } };
  expect(finding('webgpu', { ...seen, webgpu: { found: null } })).toMatchObject({ state: 'ready', detail: 'h100' });
  expect(finding('cuda', seen)).toMatchObject({ state: 'absent' });
  expect(finding('cuda', seen)?.remedy).toMatch(
    /Microsoft\.ML\.OnnxRuntime\.Gpu\.Linux.* to \/global\/early-exit\/dist/,
  );
  expect(finding('cuda', { ...seen, hasCudaLibraries: true })).toMatchObject({ state: 'unusable' });
  expect(finding('cuda', { ...seen, cuda: { found: null } })).toMatchObject({ state: 'ready', remedy: null });
  expect(finding('tensorflow', seen)?.remedy).toBe('early-exit doctor --install tensorflow-gpu');
});

describe('webgpu', () => {
  test.each([
    [
      { adapter: { problem: 'the package webgpu is not installed' } },
      'absent',
      'npm install --no-save --omit=dev --prefix "/global/early-exit" webgpu',
    ],
    [{ adapter: { found: { name: 'SwiftShader', software: true } }, webgpu: { found: null } }, 'unusable', null],
    [{ adapter: { found: { name: 'arc', software: false } }, webgpu: { problem: 'it crashed' } }, 'unusable', null],
    [{ webgpu: null }, 'unusable', null],
  ] as const)('%j', (seen, state, remedy) => {
    expect(finding('webgpu', seen)).toMatchObject({ state, remedy });
  });
});

test('providers of other platforms are named where they are', () => {
  expect(finding('dml', { dml: { found: null } })).toMatchObject({ state: 'ready' });
  expect(finding('coreml', { coreml: { problem: 'it crashed' } })).toMatchObject({
    state: 'unusable',
    detail: 'it crashed',
  });
  expect(finding('coreml', {})).toBeUndefined();
});
