/** Tuning where ONNX Runtime is not here: what needs it says so at once, and the way out that it names does without. */
import '@tensorflow/tfjs-backend-cpu';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { TuneEvent } from '../../../../protocol/events.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';
import { pretrain } from '../../../../backend/recipes/training/pretrain.ts';
import { tune } from '../../../../backend/recipes/training/tune.ts';
import type * as Backends from '../../../../backend/autodiff/backends.ts';
import type * as Devices from '../../../../backend/devices/devices.ts';
import type * as Installed from '../../../../backend/system/installed.ts';

vi.mock('../../../../backend/system/installed.ts', async (original) => {
  const installed = await original<typeof Installed>();
  const nativePackage: typeof installed.nativePackage = (name, from) =>
    name.startsWith('onnxruntime') ? null : installed.nativePackage(name, from);
  return { ...installed, nativePackage, missingLibraries: () => 'it is not installed' };
});
// The stand-in for a GPU computes with TensorFlow.js in JavaScript.
vi.mock('../../../../backend/devices/devices.ts', async (original) => {
  const devices = await original<typeof Devices>();
  const chooseExitDevice: typeof devices.chooseExitDevice = async (wanted, ...rest) =>
    wanted === 'webgpu'
      ? { kind: 'webgpu', name: 'a GPU', reason: 'for the test' }
      : devices.chooseExitDevice(wanted, ...rest);
  return { ...devices, chooseExitDevice };
});
vi.mock('../../../../backend/autodiff/backends.ts', async (original) => ({
  ...(await original<typeof Backends>()),
  openWebgpuBackend: () => Promise.resolve({ name: 'cpu', dispose: () => undefined }),
}));

let root: string;
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'no-onnx-'));
  process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const given = {
  model: 'models/typescript-5m',
  data: ['protocol/shapes.ts', 'protocol/spans.ts'],
  exits: '2:norm',
  sequenceLength: 32,
  heldOutFraction: 0.2,
  evaluationTokens: 64,
  steps: 2,
  shortlist: 200,
  device: 'cpu',
};

async function run(more: Record<string, unknown>, recipe = tune): Promise<TuneEvent[]> {
  const options = parseOptions('tune', { ...given, out: path.join(root, 'my.exits'), ...more });
  const events: TuneEvent[] = [];
  try {
    for await (const event of recipe(options, new AbortController().signal)) events.push(event);
  } catch (error) {
    throw Object.assign(error as Error, { phases: events.filter(({ type }) => type === 'phase').length });
  }
  return events;
}

const message = 'ONNX Runtime, which fits and tunes exits on the CPU, is not here: it is not installed.';

test.each([
  ['a fit', { exitDevice: 'webgpu' }],
  ['the CPU, by name', { initialise: 'copy', exitDevice: 'cpu' }],
  ['the CPU of the model', { initialise: 'copy' }],
])('%s needs it, which is said before anything is read', async (_, more) => {
  const error: unknown = await run(more).catch((caught: unknown) => caught);
  expect(error).toMatchObject({
    code: 'device',
    phases: 0,
    wayOut:
      'Use --initialise copy with --exit-device webgpu or tensorflow, which do without it, or another machine (--on).',
  });
  expect((error as Error).message).toBe(message);
  expect(fs.existsSync(path.join(root, 'my.exits'))).toBe(false);
});

test('where the device of the model is found to be the CPU, it is said before its text is read', async () => {
  const devices = await import('../../../../backend/devices/devices.ts');
  const gpus = vi.spyOn(devices.machine, 'gpus').mockResolvedValue({ problem: 'none' });
  const error: unknown = await run({ initialise: 'copy', device: 'auto' }).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: 'device', phases: 1 });
  gpus.mockRestore();
});

test('a whole model is not trained without it either', async () => {
  const wayOut = 'A whole model is trained with it, or in PyTorch on another machine (--on).';
  const whole = { continuePretraining: 'models/typescript-5m/exits', exits: undefined };
  await expect(run(whole, pretrain)).rejects.toMatchObject({ code: 'device', phases: 0, wayOut });
});

test('copies that are tuned on another engine do without', async () => {
  const events = await run({ initialise: 'copy', exitDevice: 'webgpu', out: path.join(root, 'copies.exits') });
  expect(events.at(-1)).toMatchObject({ type: 'tuned', step: 2, stopped: false });
});
