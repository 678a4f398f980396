import { expect, test } from 'vitest';
import { UserError } from '../../../protocol/errors.ts';
import { place, placeStagedModel, placeOn, type Placement } from '../../../backend/devices/fallback.ts';
import { noExits } from '../../../backend/runtime/open.ts';
import type { RuntimeOptions } from '../../../backend/runtime/open.ts';
import { ProcessorFailure } from '../../../backend/ggml/processor.ts';
import type { Device } from '../../../backend/devices/devices.ts';
import { finalLogits } from '../../support/decoding.ts';
import { tinyModel } from '../../support/models.ts';

/** Something that answers with its device, until the GPU has been asked `calls` times. */
function fragile(calls: number): {
  open: (on: Pick<RuntimeOptions, 'gpu'>) => Promise<{ where: () => Promise<string>; dispose: () => Promise<void> }>;
  log: string[];
} {
  const log: string[] = [];
  let left = calls;
  return {
    log,
    open: async ({ gpu }) => {
      const device = gpu === undefined ? 'cpu' : 'card';
      log.push(`open ${device}`);
      return {
        where: async () => {
          if (device !== 'cpu' && left-- <= 0) throw new ProcessorFailure('device lost');
          return device;
        },
        dispose: async () => void log.push(`close ${device}`),
      };
    },
  };
}

function placement(named: boolean): Placement & { warnings: string[] } {
  const warnings: string[] = [];
  const gpu = {
    kind: 'vulkan',
    file: null,
    name: 'NoSuch0',
    description: 'card',
    free: 1,
    total: 1,
    software: false,
    integrated: false,
  } as const;
  const device: Device = { kind: 'vulkan', share: { gpu, layers: 2 }, name: 'card', reason: '', named };
  return { ...placeOn(device, (message) => warnings.push(message)), warnings };
}

test('a device that fails while it runs is replaced by the CPU, and the call is made again', async () => {
  const at = placement(false);
  const { open, log } = fragile(2);
  const placed = await place(at, open);
  const where = (): Promise<string> => placed.run((each) => each.where());
  expect([await where(), await where(), await where(), await where()]).toEqual(['card', 'card', 'cpu', 'cpu']);
  expect(at.warnings).toEqual(['The device card failed: device lost. Going on with the CPU.']);
  await placed.dispose();
  expect(log).toEqual(['open card', 'close card', 'open cpu', 'close cpu']);
});

test('what shares the placement changes with it, without a second warning', async () => {
  const at = placement(false);
  const [first, second] = [await place(at, fragile(0).open), await place(at, fragile(0).open)];
  expect(await first.run((each) => each.where())).toBe('cpu');
  expect(await second.run((each) => each.where())).toBe('cpu');
  expect(at.warnings).toHaveLength(1);
  expect(at.share).toBeNull();
});

test('a named device stops the job with the way out', async () => {
  const at = placement(true);
  const placed = await place(at, fragile(0).open);
  const error = await placed.run((each) => each.where()).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(UserError);
  expect(error).toMatchObject({ code: 'device', message: 'The device card failed: device lost.' });
  expect(at.warnings).toEqual([]);
});

test('a job stops if the CPU has no memory for the whole model', async () => {
  const noFallback = new UserError('out-of-memory', 'The model takes 12.0 GB.', 'Take a smaller one.');
  const at = { ...placement(false), noFallback };
  const placed = await place(at, fragile(0).open);
  expect(await placed.run((each) => each.where()).catch((e: unknown) => e)).toMatchObject({
    code: 'device',
    message: 'The device card failed: device lost. The model takes 12.0 GB.',
    wayOut: 'Take a smaller one.',
  });
  expect(at).toMatchObject({ share: { layers: 2 }, warnings: [] });
});

test('an error of the user is no failure of the device', async () => {
  const at = placement(false);
  const open = (): Promise<never> => Promise.reject(new UserError('bad-weights', 'NaN in a weight.'));
  await expect(place(at, open)).rejects.toThrow('NaN in a weight.');
  expect(at).toMatchObject({ share: { layers: 2 }, warnings: [] });
});

test('a mistake of ours is no failure of the device either', async () => {
  const at = placement(false);
  const placed = await place(at, fragile(9).open);
  const mistake = (): Promise<never> => Promise.reject(new TypeError('x is not a function'));
  await expect(placed.run(mistake)).rejects.toThrow('x is not a function');
  expect(at).toMatchObject({ share: { layers: 2 }, warnings: [] });
});

test('a model on a card that is not there runs on the CPU from the start', async () => {
  const at = placement(false);
  const model = tinyModel();
  const staged = await placeStagedModel(at, model, noExits);
  const logits = await finalLogits(staged, [1, 2]);
  expect(logits).toHaveLength(2 * staged.spec.vocabulary);
  expect(logits.every(Number.isFinite)).toBe(true);
  expect(at.warnings).toEqual(['The device card failed: NoSuch0 is not there any more. Going on with the CPU.']);
  expect(at.share).toBeNull();
  await staged.dispose();
  model.close();
});
