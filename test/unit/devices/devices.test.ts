import { describe, expect, test } from 'vitest';
import { UserError } from '../../../protocol/errors.ts';
import { chooseDevice, chooseExitDevice, type Device, type Probes } from '../../../backend/devices/devices.ts';
import { describeAdapter, probe, type Adapter, type Probe } from '../../../backend/devices/probe.ts';
import type { Provider } from '../../../backend/onnx/operators.ts';

const card: Adapter = { name: 'nvidia-h100', software: false };
const software: Adapter = { name: 'SwiftShader', software: true };
const absent = { problem: 'it is not installed' };

/** A machine on which `working` providers work. */
function machineWith(adapter: Probe<Adapter>, working: Provider[], more: Partial<Probes> = {}): Probes {
  return {
    adapter: async () => adapter,
    provider: async (provider) => (working.includes(provider) ? { found: null } : { problem: 'it is broken.' }),
    hasCudaLibraries: () => working.includes('cuda'),
    tensorFlow: async () => absent,
    ...more,
  };
}

const choose = (wanted: Parameters<typeof chooseDevice>[0], probes: Probes): Promise<Device> =>
  chooseDevice(wanted, undefined, probes);

describe('auto', () => {
  test('takes a real GPU through WebGPU and says which', async () => {
    expect(await choose('auto', machineWith({ found: card }, ['webgpu']))).toEqual({
      provider: 'webgpu',
      name: 'webgpu: nvidia-h100',
      reason: 'nvidia-h100 is a real GPU.',
      named: false,
    });
  });

  test('takes CUDA first', async () => {
    expect(await choose('auto', machineWith({ found: card }, ['webgpu', 'cuda']))).toMatchObject({ provider: 'cuda' });
  });

  test('goes on to WebGPU where CUDA is broken', async () => {
    const probes = machineWith({ found: card }, ['webgpu'], { hasCudaLibraries: () => true });
    expect(await choose('auto', probes)).toMatchObject({ provider: 'webgpu' });
  });

  test.each([
    [{ found: software }, 'There is no GPU to use. WebGPU: SwiftShader computes on the CPU.'],
    [{ problem: 'there is no driver.' }, 'There is no GPU to use. WebGPU: there is no driver.'],
    [{ found: card }, 'There is no GPU to use. WebGPU on nvidia-h100: it is broken.'],
  ])('takes the CPU, and says why: %j', async (adapter, reason) => {
    const working: Provider[] = 'found' in adapter && adapter.found.software ? ['webgpu'] : [];
    expect(await choose('auto', machineWith(adapter, working))).toEqual({
      provider: 'cpu',
      name: 'cpu',
      reason,
      named: false,
    });
  });
});

describe('by name', () => {
  test('a software adapter is taken', async () => {
    expect(await choose('webgpu', machineWith({ found: software }, ['webgpu']))).toMatchObject({
      provider: 'webgpu',
      name: 'webgpu: SwiftShader',
      named: true,
    });
  });

  test('the CPU needs no probe', async () => {
    const refuse = (): never => {
      throw new Error('asked');
    };
    const probes = { adapter: refuse, provider: refuse, hasCudaLibraries: refuse, tensorFlow: refuse };
    expect(await choose('cpu', probes)).toMatchObject({ provider: 'cpu', named: true });
  });

  test('a device that does not work is refused with the way out', async () => {
    const error = await choose('dml', machineWith(absent, [])).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(UserError);
    expect(error).toMatchObject({ code: 'device', message: 'The device dml cannot be used: it is broken.' });
    expect((error as UserError).wayOut).toContain('early-exit doctor');
  });
});

describe('exits', () => {
  const on = (provider: Provider): Device => ({ provider, name: provider, reason: '', named: false });
  const tensorFlow = (gpu: boolean): Partial<Probes> => ({
    tensorFlow: async () => ({ found: { entry: 'tf.js', version: '2.21.0', gpu } }),
  });

  test.each([
    ['cpu', machineWith({ found: card }, ['webgpu']), 'compiled'],
    ['webgpu', machineWith({ found: card }, ['webgpu']), 'webgpu'],
    ['webgpu', machineWith(absent, []), 'compiled'],
    ['cuda', machineWith(absent, []), 'compiled'],
    ['cuda', machineWith(absent, [], tensorFlow(false)), 'compiled'],
    ['cuda', machineWith(absent, [], tensorFlow(true)), 'tensorflow'],
    ['dml', machineWith({ found: card }, ['dml']), 'compiled'],
  ] as const)('auto follows a model on %s', async (provider, probes, kind) => {
    expect((await chooseExitDevice('auto', on(provider), undefined, probes)).kind).toBe(kind);
  });

  test('TensorFlow is taken by name on the CPU too, and refused where it is absent', async () => {
    const found = await chooseExitDevice(
      'tensorflow',
      on('cpu'),
      undefined,
      machineWith(absent, [], tensorFlow(false)),
    );
    expect(found.name).toBe('tensorflow 2.21.0 on the CPU');
    await expect(chooseExitDevice('tensorflow', on('cpu'), undefined, machineWith(absent, []))).rejects.toThrow(
      'The device tensorflow cannot be used: it is not installed.',
    );
  });
});

describe('adapters', () => {
  const info = { vendor: '', architecture: '', device: '', description: '', isFallbackAdapter: false };

  test.each([
    { vendor: 'google', architecture: 'swiftshader' },
    { vendor: 'mesa', device: 'llvmpipe (LLVM 15.0.7, 256 bits)' },
    { vendor: 'microsoft', description: 'Microsoft Basic Render Driver' },
    { device: 'Some Software Rasterizer' },
    { vendor: 'acme', isFallbackAdapter: true },
  ])('software: %j', (part) => {
    expect(describeAdapter({ ...info, ...part }).software).toBe(true);
  });

  test.each([
    [{ vendor: 'nvidia', architecture: 'ampere', device: 'nvidia-geforce-rtx-3090' }, 'nvidia-geforce-rtx-3090'],
    [{ vendor: 'apple', description: 'Apple M3' }, 'Apple M3'],
    [{ vendor: 'intel', device: 'intel-arc', description: 'Mesa 25' }, 'intel-arc (Mesa 25)'],
    [{ vendor: 'amd' }, 'amd'],
  ])('a card: %j', (part, name) => {
    expect(describeAdapter({ ...info, ...part })).toEqual({ name, software: false });
  });
});

describe('a process that tries', () => {
  test('answers', async () => {
    expect(await probe('console.log("noise"); report({ found: input * 2 });', 21)).toEqual({ found: 42 });
  });

  test('may throw, crash, or end without an answer', async () => {
    expect(await probe('throw new Error("no such library");', null)).toEqual({ problem: 'no such library' });
    expect(await probe('process.abort();', null)).toEqual({ problem: 'it crashed (SIGABRT)' });
    expect(await probe('console.error("first"); console.error("last"); process.exit(3);', null)).toEqual({
      problem: 'last',
    });
    expect(await probe('process.exit(3);', null)).toEqual({ problem: 'it ended with code 3' });
  });

  test('ends when it is cancelled', async () => {
    const controller = new AbortController();
    const waiting = probe('setInterval(() => {}, 1000);', null, controller.signal);
    setTimeout(() => controller.abort(new Error('enough')), 100);
    await expect(waiting).rejects.toThrow('enough');
  });
});
