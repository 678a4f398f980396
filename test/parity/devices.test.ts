/**
 * The tuning step gives the reference's numbers within 1e-3 on every device: on tfjs's WebGPU and on TensorFlow. WebGPU runs on a
 * software adapter here, so shapes are tiny.
 */
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chooseExitDevice } from '../../backend/devices/devices.ts';
import { findTensorFlow } from '../../backend/devices/tensorflow.ts';
import { bundled } from '../support/bundled.ts';
import { softwareGpu } from '../support/swiftshader.ts';
import type { Answer } from './devices-child.ts';

const tolerance = 1e-3;
/** A software adapter compiles every shader on the processor that the other tests use. */
const slow = 300_000;

const gpu = await softwareGpu();
const tensorFlow = await findTensorFlow();
if ('problem' in tensorFlow) console.warn(`Skipped: TensorFlow (${tensorFlow.problem}).`);

async function ask(words: readonly string[], environment: Record<string, string>): Promise<Answer> {
  const options = { env: environment, timeout: slow };
  const { stdout } = await execa(process.execPath, [bundled('devices-child'), ...words], options);
  return JSON.parse(stdout.split('\n').at(-1)!) as Answer;
}

describe.skipIf(gpu === null)('WebGPU on a software adapter', () => {
  test(
    'the tuning step on tfjs, which lets its process end',
    async () => {
      const { loss, norm } = await ask(['webgpu', '2'], gpu!);
      expect(loss).toBeLessThan(tolerance);
      expect(norm).toBeLessThan(tolerance);
    },
    slow,
  );

  describe('choosing', () => {
    const before = { ...process.env };
    beforeAll(() => void Object.assign(process.env, gpu));
    afterAll(() => {
      for (const name of Object.keys(gpu!)) {
        if (before[name] === undefined) delete process.env[name];
        else process.env[name] = before[name];
      }
    });

    test('auto tunes no exits on it and says so; named, it is taken', async () => {
      const device = await chooseExitDevice('auto', { kind: 'vulkan' });
      expect(device.kind).toBe('compiled');
      expect(device.reason).toMatch(/swiftshader.* computes on the CPU/i);
      expect((await chooseExitDevice('webgpu', { kind: 'cpu' })).name).toMatch(/^webgpu: .*swiftshader/i);
    });
  });
});

describe.skipIf('problem' in tensorFlow)('TensorFlow', () => {
  test(
    'the tuning step',
    async () => {
      const { entry } = (tensorFlow as { found: { entry: string } }).found;
      const answer = await ask([entry], {});
      for (const difference of Object.values(answer)) expect(difference).toBeLessThan(tolerance);
    },
    slow,
  );
});
