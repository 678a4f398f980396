import { describe, expect, test } from 'vitest';
import { UserError } from '../../../protocol/errors.ts';
import {
  chooseDevice,
  chooseExitDevice,
  type Device,
  type DeviceWish,
  type Probes,
} from '../../../backend/devices/devices.ts';
import { bytesOfLayers, layersThatFit, needsOf, type Needs } from '../../../backend/devices/fit.ts';
import { byPreference, hasNvidiaDriver, natureOf, type Gpu, type GpuKind } from '../../../backend/devices/gpus.ts';
import { describeAdapter, probe, type Adapter, type Probe } from '../../../backend/devices/probe.ts';
import { copiedExits, tinyModel, withMemories } from '../../support/models.ts';

const card: Gpu = {
  kind: 'vulkan',
  file: 'libggml-vulkan.so',
  name: 'Vulkan0',
  description: 'RTX 4090',
  free: 8e9,
  total: 8e9,
  software: false,
  integrated: false,
};
/** It counts the machine's memory as its own. */
const integrated: Gpu = { ...card, description: 'Iris', free: 64e9, total: 64e9, integrated: true };
const software: Gpu = { ...card, description: 'llvmpipe', software: true };
const adapter: Adapter = { name: 'nvidia-h100', software: false };
const absent = { problem: 'it is not installed' };
/** Ten layers of 1 GB and 2 GB behind them. */
const needs: Needs = { layers: Array.from({ length: 10 }, () => 1e9), rest: 2e9, asStored: null };

function machineWith(gpus: Partial<Record<GpuKind, Probe<Gpu[]>>>, more: Partial<Probes> = {}): Probes {
  return {
    kinds: ['cuda', 'metal', 'vulkan'],
    gpus: async (kind) => gpus[kind] ?? absent,
    adapter: async () => absent,
    tensorFlow: async () => absent,
    memory: () => 64e9,
    ...more,
  };
}

const choose = (
  device: DeviceWish['device'],
  probes: Probes,
  { gpuLayers = 'auto', room = needs }: { gpuLayers?: DeviceWish['gpuLayers']; room?: Needs | null } = {},
): Promise<Device> => chooseDevice({ device, gpuLayers }, room, undefined, probes);

describe('auto', () => {
  test('takes a real GPU with room for the model, and says which and why', async () => {
    const gpu = { ...card, free: 24e9, total: 24e9 };
    expect(await choose('auto', machineWith({ vulkan: { found: [gpu] } }))).toEqual({
      kind: 'vulkan',
      share: { gpu, layers: 10 },
      name: 'vulkan: RTX 4090',
      reason: 'RTX 4090 has 24.0 GB free, and the model takes 12.0 GB.',
      named: false,
    });
  });

  test('a model that does not fit goes there as far as it fits', async () => {
    expect(await choose('auto', machineWith({ vulkan: { found: [card] } }))).toMatchObject({
      share: { gpu: card, layers: 7 },
      name: 'vulkan: RTX 4090, 7 of 10 layers',
      reason: 'RTX 4090 has 8.0 GB free: 7 of 10 layers take 7.3 GB of it, the rest runs on the CPU.',
    });
  });

  test('counts what computes on a Mac with ARM as memory of the machine', () => {
    const seen = { name: 'MTL0', description: 'Apple M3', free: 8e9, total: 12e9, integrated: false };
    expect(natureOf('metal', seen)).toEqual({ software: false, integrated: true });
    expect(natureOf('vulkan', seen)).toEqual({ software: false, integrated: false });
  });

  test('takes a real card, not what has more memory because it is the machine’s', async () => {
    const found = [software, integrated, { ...card, free: 4e9 }, card].sort(byPreference);
    expect(found.map(({ description, free }) => [description, free])).toEqual([
      ['RTX 4090', 8e9],
      ['RTX 4090', 4e9],
      ['Iris', 64e9],
      ['llvmpipe', 8e9],
    ]);
    expect((await choose('auto', machineWith({ vulkan: { found } }))).share?.gpu).toEqual(card);
    const full = { ...card, free: 1e9 };
    expect((await choose('auto', machineWith({ vulkan: { found: [full, integrated] } }))).share?.gpu).toEqual(
      integrated,
    );
    const none = await choose('vulkan', machineWith({ vulkan: { found: [full, software] } })).catch((e: unknown) => e);
    expect(none).toMatchObject({ code: 'device' });
    expect((none as UserError).message).toContain('RTX 4090 has 1.0 GB free');
  });

  test('takes CUDA first, and goes on to Vulkan where it is broken', async () => {
    const cuda = { ...card, kind: 'cuda' as const };
    const vulkan = { found: [card] };
    expect(await choose('auto', machineWith({ cuda: { found: [cuda] }, vulkan }))).toMatchObject({ kind: 'cuda' });
    expect(await choose('auto', machineWith({ cuda: { problem: 'it crashed' }, vulkan }))).toMatchObject({
      kind: 'vulkan',
    });
  });

  test.each([
    [{ found: [software] }, 'Vulkan: llvmpipe computes on the CPU.'],
    [{ problem: 'its library is not installed.' }, 'Vulkan: its library is not installed.'],
    [
      { found: [{ ...card, free: 1e9 }] },
      'Vulkan: RTX 4090 has 1.0 GB free, too little for a layer of 1.0 GB and what passes compute in.',
    ],
  ])('takes the CPU, and says why: %j', async (vulkan, reason) => {
    expect(await choose('auto', machineWith({ vulkan }, { kinds: ['vulkan'] }))).toEqual({
      kind: 'cpu',
      share: null,
      name: 'cpu',
      reason: `There is no GPU to use. ${reason}`,
      named: false,
    });
  });
});

describe('by name', () => {
  test('what computes on the CPU is taken', async () => {
    const found = await choose('vulkan', machineWith({ vulkan: { found: [software] } }));
    expect(found).toMatchObject({ kind: 'vulkan', name: 'vulkan: llvmpipe, 7 of 10 layers', named: true });
  });

  test('as many layers as were requested, and none without querying the card', async () => {
    const probes = machineWith({ vulkan: { found: [card] } });
    expect((await choose('vulkan', probes, { gpuLayers: 3 })).share?.layers).toBe(3);
    expect(await choose('auto', probes, { gpuLayers: 0 })).toMatchObject({ kind: 'cpu' });
  });

  test('more than fits is refused before it is taken, with what would fit', async () => {
    const probes = machineWith({ vulkan: { found: [card] } });
    const error = await choose('vulkan', probes, { gpuLayers: 8 }).catch((e: unknown) => e);
    expect(error).toMatchObject({
      code: 'out-of-memory',
      message: '8 layers take 8.3 GB, but RTX 4090 has 8.0 GB free.',
      wayOut: '7 of 10 layers would fit: use --gpu-layers 7.',
    });
  });

  test('the CPU needs no probe', async () => {
    const refuse = (): never => {
      throw new Error('asked');
    };
    const probes = { kinds: [], gpus: refuse, adapter: refuse, tensorFlow: refuse, memory: () => 64e9 };
    expect(await choose('cpu', probes)).toMatchObject({ kind: 'cpu', named: true });
  });

  test('more than this machine has is refused before it is taken, with what would fit', async () => {
    const probes = machineWith({ vulkan: { found: [card] } }, { memory: () => 11e9 });
    expect(await choose('cpu', probes).catch((e: unknown) => e)).toMatchObject({
      code: 'out-of-memory',
      message: 'The model takes 12.0 GB of memory, and this machine has 11.0 GB.',
      wayOut: 'Take a smaller model, or a GGUF file of it in smaller blocks, such as Q4_K_M.',
    });
    expect(await choose('cpu', probes, { room: { ...needs, asStored: 4e9 } }).catch((e: unknown) => e)).toMatchObject({
      wayOut: 'With precision fast it takes 4.0 GB.',
    });
    expect((await choose('vulkan', probes)).share?.layers).toBe(7);
    const little = { ...probes, memory: () => 4e9 };
    expect(await choose('vulkan', little).catch((e: unknown) => e)).toMatchObject({
      message: 'The layers that the CPU computes take 4.7 GB of memory, and this machine has 4.0 GB.',
    });
  });

  test('a device that does not work is refused with the way out', async () => {
    const error = await choose('cuda', machineWith({ cuda: { problem: 'it is broken.' } })).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(UserError);
    expect(error).toMatchObject({ code: 'device', message: 'The device cuda cannot be used: it is broken.' });
    expect((error as UserError).wayOut).toContain('early-exit doctor');
  });

  test('a card that shares the machine’s memory has none of its own', async () => {
    const probes = (memory: number): Probes =>
      machineWith({ vulkan: { found: [integrated] } }, { memory: () => memory });
    expect((await choose('auto', probes(13e9))).share?.layers).toBe(10);
    await expect(choose('auto', probes(11e9))).rejects.toThrow(
      'The model takes 12.0 GB of memory, and this machine has 11.0 GB.',
    );
  });

  test('the CPU takes over from a card only if it has the memory', async () => {
    const large = { ...card, free: 24e9, total: 24e9 };
    const fallback = async (memory: number): Promise<string | undefined> =>
      (await choose('auto', machineWith({ vulkan: { found: [large] } }, { memory: () => memory }))).noFallback?.message;
    expect(await fallback(13e9)).toBeUndefined();
    expect(await fallback(11e9)).toBe('The model takes 12.0 GB of memory, and this machine has 11.0 GB.');
  });
});

describe('for whole windows', () => {
  const chooseWhole = (device: DeviceWish['device'], found: Gpu[], memory = 64e9): Promise<Device> =>
    chooseDevice(
      { device, gpuLayers: 'auto', whole: true },
      needs,
      undefined,
      machineWith({ vulkan: { found } }, { kinds: ['vulkan'], memory: () => memory }),
    );

  test('a card that has room for some layers gets none', async () => {
    const reason = 'RTX 4090 would compute 7 of 10 layers, and windows are read whole.';
    expect(await chooseWhole('auto', [card])).toMatchObject({
      share: null,
      reason: `There is no GPU to use. Vulkan: ${reason}`,
    });
    expect(await chooseWhole('vulkan', [card])).toMatchObject({ share: null, reason, named: true });
    await expect(chooseWhole('auto', [card], 11e9)).rejects.toThrow('The model takes 12.0 GB of memory');
  });

  test('a card that has room for all gets all', async () => {
    const large = { ...card, free: 24e9, total: 24e9 };
    expect((await chooseWhole('auto', [card, large])).share).toEqual({ gpu: large, layers: 10 });
  });
});

describe('room', () => {
  test('what is behind the last layer needs room too', () => {
    expect(layersThatFit(needs, { free: 13e9, total: 13e9 })).toBe(10);
    expect(layersThatFit(needs, { free: 11e9, total: 11e9 })).toBe(9);
    expect(layersThatFit(needs, { free: 0, total: 8e9 })).toBe(0);
    expect(bytesOfLayers(needs, 10)).toBe(12e9);
  });

  test('a layer takes its weights, and keys, values and states of a text', () => {
    const model = tinyModel();
    const { spec, parameters } = model;
    const kv = spec.kvHeads * spec.headDimensions;
    const text = Math.min(4096, spec.contextLength) * (2 * 4 * kv + 4 * spec.hidden);
    const { hidden, feedForward } = spec;
    const weights = 4 * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * feedForward + 2 * hidden);
    const { layers, rest } = needsOf(model, true);
    expect(layers).toEqual(spec.layers.map(() => weights + text));
    expect(rest - 256e6).toBe(4 * (parameters.shape('lm_head.weight')[0]! * hidden + hidden));
    // An exit lies where its layer does, its matrices in bytes: 34 for 32 elements.
    const head = parameters.shape('lm_head.weight')[0]! * hidden;
    const exits = copiedExits(model, [{ layer: 2, architecture: 'norm', head: { kind: 'own' } }]);
    const more = (exact: boolean): number[] => {
      const without = needsOf(model, exact).layers;
      return needsOf(model, exact, exits).layers.map((bytes, l) => bytes - without[l]!);
    };
    expect(more(true)).toEqual(spec.layers.map((_, l) => (l === 1 ? 4 * (head + hidden) : 0)));
    expect(more(false)).toEqual(spec.layers.map((_, l) => (l === 1 ? (34 / 32) * head + 4 * hidden : 0)));
    // Exits at one cut share a memory.
    const two = copiedExits(model, [
      { layer: 2, architecture: 'norm', head: { kind: 'shared' } },
      { layer: 2, architecture: 'lens', head: { kind: 'shared' } },
    ]);
    const remembered = needsOf(model, true, withMemories(model, two)).layers[1]! - needsOf(model, true, two).layers[1]!;
    expect(remembered).toBe(4 * (hidden + 1) * 2 * kv * (spec.layers.length - 2));
    model.close();
  });
});

test.skipIf(process.platform === 'win32')('the driver of NVIDIA is one of several files', () => {
  expect(hasNvidiaDriver(['/none', import.meta.dirname])).toBe(true);
  expect(hasNvidiaDriver(['/none'])).toBe(false);
});

describe('exits', () => {
  const on = (kind: Device['kind']): Pick<Device, 'kind'> => ({ kind });
  const tensorFlow = (gpu: boolean): Partial<Probes> => ({
    tensorFlow: async () => ({ found: { entry: 'tf.js', version: '2.21.0', gpu } }),
  });
  const webgpu = (found: Adapter): Partial<Probes> => ({ adapter: async () => ({ found }) });

  test.each([
    ['cpu', webgpu(adapter), 'compiled'],
    ['vulkan', webgpu(adapter), 'webgpu'],
    ['vulkan', webgpu({ ...adapter, software: true }), 'compiled'],
    ['metal', {}, 'compiled'],
    ['cuda', {}, 'compiled'],
    ['cuda', tensorFlow(false), 'compiled'],
    ['cuda', { ...tensorFlow(false), ...webgpu(adapter) }, 'webgpu'],
    ['cuda', tensorFlow(true), 'tensorflow'],
  ] as const)('auto follows a model on %s: %j', async (kind, more, taken) => {
    expect((await chooseExitDevice('auto', on(kind), undefined, machineWith({}, more))).kind).toBe(taken);
  });

  test('TensorFlow is taken by name on the CPU too, and refused where it is absent', async () => {
    const found = await chooseExitDevice('tensorflow', on('cpu'), undefined, machineWith({}, tensorFlow(false)));
    expect(found.name).toBe('tensorflow 2.21.0 on the CPU');
    await expect(chooseExitDevice('tensorflow', on('cpu'), undefined, machineWith({}))).rejects.toThrow(
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
