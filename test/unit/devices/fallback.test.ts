import { expect, test } from 'vitest';
import { UserError } from '../../../protocol/errors.ts';
import { place, placeStagedModel, placeOn, type Placement } from '../../../backend/devices/fallback.ts';
import { noExits } from '../../../backend/runtime/open.ts';
import type { Provider } from '../../../backend/onnx/operators.ts';
import { RuntimeFailure } from '../../../backend/onnx/session.ts';
import { finalLogits } from '../../support/decoding.ts';
import { engines } from '../../support/engines.ts';
import { tinyModel } from '../../support/models.ts';

/** Something that answers with its provider, until the GPU has been asked `calls` times. */
function fragile(calls: number): {
  open: (provider: Provider) => Promise<{ where: () => Promise<string>; dispose: () => Promise<void> }>;
  log: string[];
} {
  const log: string[] = [];
  let left = calls;
  return {
    log,
    open: async (provider) => {
      log.push(`open ${provider}`);
      return {
        where: async () => {
          if (provider !== 'cpu' && left-- <= 0) throw new RuntimeFailure('device lost');
          return provider;
        },
        dispose: async () => void log.push(`close ${provider}`),
      };
    },
  };
}

function placement(named: boolean): Placement & { warnings: string[] } {
  const warnings: string[] = [];
  const device = { provider: 'webgpu', name: 'webgpu', reason: '', named } as const;
  return { ...placeOn(device, (message) => warnings.push(message)), warnings };
}

test('a device that fails while it runs is replaced by the CPU, and the call is made again', async () => {
  const at = placement(false);
  const { open, log } = fragile(2);
  const placed = await place(at, open);
  const where = (): Promise<string> => placed.run((each) => each.where());
  expect([await where(), await where(), await where(), await where()]).toEqual(['webgpu', 'webgpu', 'cpu', 'cpu']);
  expect(at.warnings).toEqual(['The device webgpu failed: device lost. Going on with the CPU.']);
  await placed.dispose();
  expect(log).toEqual(['open webgpu', 'close webgpu', 'open cpu', 'close cpu']);
});

test('what shares the placement changes with it, without a second warning', async () => {
  const at = placement(false);
  const [first, second] = [await place(at, fragile(0).open), await place(at, fragile(0).open)];
  expect(await first.run((each) => each.where())).toBe('cpu');
  expect(await second.run((each) => each.where())).toBe('cpu');
  expect(at.warnings).toHaveLength(1);
  expect(at.provider).toBe('cpu');
});

test('a named device stops the job with the way out', async () => {
  const at = placement(true);
  const placed = await place(at, fragile(0).open);
  const error = await placed.run((each) => each.where()).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(UserError);
  expect(error).toMatchObject({ code: 'device', message: 'The device webgpu failed: device lost.' });
  expect(at.warnings).toEqual([]);
});

test('an error of the user is no failure of the device', async () => {
  const at = placement(false);
  const open = (): Promise<never> => Promise.reject(new UserError('bad-weights', 'NaN in a weight.'));
  await expect(place(at, open)).rejects.toThrow('NaN in a weight.');
  expect(at).toMatchObject({ provider: 'webgpu', warnings: [] });
});

test('a mistake of ours is no failure of the device either', async () => {
  const at = placement(false);
  const placed = await place(at, fragile(9).open);
  const mistake = (): Promise<never> => Promise.reject(new TypeError('x is not a function'));
  await expect(placed.run(mistake)).rejects.toThrow('x is not a function');
  expect(at).toMatchObject({ provider: 'webgpu', warnings: [] });
});

test('a model on a provider that is not there runs on the CPU from the start', async () => {
  const warnings: string[] = [];
  const device = { provider: 'dml', name: 'dml', reason: '', named: false } as const;
  const absent = process.platform === 'win32' ? { ...device, provider: 'coreml' as const } : device;
  const staged = await placeStagedModel(
    placeOn(absent, (message) => warnings.push(message)),
    tinyModel(),
    noExits,
  );
  const logits = await finalLogits(staged, [1, 2]);
  expect(logits).toHaveLength(2 * staged.spec.vocabulary);
  expect(logits.every(Number.isFinite)).toBe(true);
  expect(warnings).toHaveLength(1);
  await staged.dispose();
});

test.skipIf(engines.length === 1)(
  'a mixture of experts stays on the CPU, unless another device was named',
  async () => {
    const at = placement(false);
    const model = tinyModel('qwen3_moe');
    const staged = await placeStagedModel(at, model, noExits);
    expect(await finalLogits(staged, [1, 2])).toHaveLength(2 * staged.spec.vocabulary);
    expect(at.provider).toBe('cpu');
    expect(at.warnings).toEqual([`${model.path} is a mixture of experts, which is computed on the CPU alone.`]);
    await staged.dispose();
    await expect(placeStagedModel(placement(true), model, noExits)).rejects.toThrow('on the CPU alone');
    model.close();
  },
);
