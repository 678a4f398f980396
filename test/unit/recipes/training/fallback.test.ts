/** A device for exits that fails while it tunes. The device is a stand-in: the CPU's step, which fails at its third update. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { TuneEvent } from '../../../../protocol/events.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';
import { tune } from '../../../../backend/recipes/training/tune.ts';
import type * as Devices from '../../../../backend/devices/devices.ts';
import type * as Placed from '../../../../backend/tuning/step/open.ts';

vi.mock('../../../../backend/devices/devices.ts', async (original) => {
  const devices = await original<typeof Devices>();
  const chooseExitDevice: typeof devices.chooseExitDevice = async (wanted, ...rest) =>
    wanted === 'cpu'
      ? devices.chooseExitDevice(wanted, ...rest)
      : wanted === 'tensorflow'
        ? Promise.reject(new Error('no TensorFlow'))
        : { kind: 'webgpu', name: 'a failing GPU', reason: 'for the test' };
  return { ...devices, chooseExitDevice };
});
vi.mock('../../../../backend/tuning/step/open.ts', async (original) => {
  const placed = await original<typeof Placed>();
  const openPlacedStep: typeof placed.openPlacedStep = async (device, options) => {
    if (device.kind === 'compiled') return placed.openPlacedStep(device, options);
    const step = await placed.openPlacedStep({ kind: 'compiled', name: 'cpu', reason: 'for the test' }, options);
    let updates = 0;
    return {
      ...step,
      device,
      update: (...call) => (++updates === 3 ? Promise.reject(new Error('device lost')) : step.update(...call)),
    };
  };
  return { ...placed, openPlacedStep };
});

let root: string;
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'fallback-'));
  process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

async function run(
  exitDevice: 'auto' | 'cpu' | 'webgpu' | 'tensorflow',
  events: TuneEvent[] = [],
): Promise<TuneEvent[]> {
  const options = parseOptions('tune', {
    model: 'models/typescript-5m',
    data: ['protocol/**/*.ts'],
    exits: '6',
    sequenceLength: 64,
    evaluationTokens: 512,
    fitTokens: 1024,
    steps: 5,
    device: 'cpu',
    exitDevice,
    out: path.join(root, `${exitDevice}.exits`),
  });
  for await (const event of tune(options, new AbortController().signal)) events.push(event);
  return events;
}

test('is replaced by the CPU with a clear line, and the run ends as on the CPU alone, if the user did not name it', async () => {
  const events = await run('auto');
  const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
  expect(warnings).toEqual(['Tuning on a failing GPU failed: device lost. Going on with the CPU.']);
  const alone = await run('cpu');
  const after = (all: readonly TuneEvent[]) => all.flatMap((event) => (event.type === 'tuned' ? [event.after] : []));
  expect(after(events)).toEqual(after(alone));
  expect(events.at(-1)).toMatchObject({ type: 'tuned', step: 5, stopped: false });
});

test('stops the run where it was named', async () => {
  await expect(run('webgpu')).rejects.toMatchObject({
    code: 'device',
    message: expect.stringContaining('Tuning on a failing GPU failed: device lost.') as string,
  });
});

test('ends a run before its fit where it cannot be used', async () => {
  const events: TuneEvent[] = [];
  await expect(run('tensorflow', events)).rejects.toThrow('no TensorFlow');
  expect(events.some(({ type }) => type === 'phase')).toBe(true);
  expect(
    events.some((event) => event.type === 'memory' || (event.type === 'phase' && event.phase === 'evaluate')),
  ).toBe(false);
  expect(fs.existsSync(path.join(root, 'tensorflow.exits'))).toBe(false);
});
