/**
 * Every device gives the CPU's numbers within 1e-3: the golden models, decoding and scores on ONNX Runtime's WebGPU, and
 * the tuning step on tfjs's WebGPU and on TensorFlow. WebGPU runs on a software adapter here, so shapes are tiny.
 */
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chooseExitDevice } from '../../backend/devices/devices.ts';
import { findTensorFlow } from '../../backend/devices/tensorflow.ts';
import { softwareGpu } from '../support/swiftshader.ts';
import type { Answers } from './devices-child.ts';

const tolerance = 1e-3;
/** A software adapter compiles every shader on the processor that the other tests use. */
const slow = 300_000;

const gpu = await softwareGpu();
const tensorFlow = await findTensorFlow();
if ('problem' in tensorFlow) console.warn(`Skipped: TensorFlow (${tensorFlow.problem}).`);

async function ask<Names extends keyof Answers>(
  names: readonly Names[],
  words: readonly string[],
  environment: Record<string, string>,
): Promise<Pick<Answers, Names>> {
  const child = join(import.meta.dirname, 'devices-child.ts');
  const options = { env: environment, timeout: slow };
  const { stdout } = await execa(process.execPath, ['--import', 'tsx', child, names.join(), ...words], options);
  return JSON.parse(stdout.split('\n').at(-1)!) as Pick<Answers, Names>;
}

describe.skipIf(gpu === null)('WebGPU on a software adapter', () => {
  let answers: Pick<Answers, 'logits' | 'offDevice' | 'decoding' | 'scores'>;
  beforeAll(async () => {
    answers = await ask(['logits', 'offDevice', 'decoding', 'scores'], [], gpu!);
  }, slow);

  test('logits of every golden model', () => {
    expect(Object.keys(answers.logits)).toHaveLength(44);
    for (const [model, difference] of Object.entries(answers.logits)) expect(difference, model).toBeLessThan(tolerance);
  });

  test('no node of any graph falls back to the CPU', () => {
    expect(answers.offDevice).toEqual({});
  });

  test('a batch with exits and deferred keys and values decodes to the same tokens at the same layers', () => {
    const layers = new Set(answers.decoding.cpu.flat().map((token) => token.split('@')[1]));
    expect(layers).toEqual(new Set(['3', '2', '1']));
    expect(answers.decoding.webgpu).toEqual(answers.decoding.cpu);
    expect(answers.decoding.confidence).toBeLessThan(tolerance);
  });

  test('losses of exits on known text', () => {
    expect(Object.keys(answers.scores)).toEqual(['1:lens', '2:mlp', '3:layer', 'final']);
    for (const [exit, difference] of Object.entries(answers.scores)) expect(difference, exit).toBeLessThan(tolerance);
  });

  test(
    'the tuning step on tfjs, which lets its process end',
    async () => {
      const { trajectory } = await ask(['trajectory'], ['webgpu', '3'], gpu!);
      expect(trajectory.loss).toBeLessThan(tolerance);
      expect(trajectory.norm).toBeLessThan(tolerance);
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
      const { trajectory } = await ask(['trajectory'], [entry], {});
      expect(trajectory.loss).toBeLessThan(tolerance);
      expect(trajectory.norm).toBeLessThan(tolerance);
      expect(trajectory.parameter).toBeLessThan(tolerance);
    },
    slow,
  );
});
