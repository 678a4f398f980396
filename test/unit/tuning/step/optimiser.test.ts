/** AdamW and clipping against a loop in float64, and the schedules at their ends. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { adamW, clipCoefficient, decays, updateNumbers } from '../../../../backend/tuning/step/optimiser.ts';
import type { OptimiserOptions } from '../../../../backend/tuning/step/types.ts';
import { numbers } from '../../autodiff/numbers.ts';

const options: OptimiserOptions = {
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-5,
  weightDecay: 0.1,
  decay: 'matrices',
  gradientClip: 1,
  clip: 'each',
};

beforeAll(async () => {
  await tf.setBackend('cpu');
});

test.each([true, false])('updates as torch.optim.AdamW does; decay: %s', (decay) => {
  const size = 6;
  const rate = 0.03;
  let parameter = [...numbers(size, 1)];
  let first: number[] = Array<number>(size).fill(0);
  let second: number[] = Array<number>(size).fill(0);
  let state = { parameter: tf.tensor(parameter), first: tf.zeros([size]), second: tf.zeros([size]) };
  for (let update = 1; update <= 5; update++) {
    const gradient = [...numbers(size, 10 + update)];
    const scale = 0.5;
    const scalars = updateNumbers(options, update, rate, scale, decay);
    state = adamW(options, state, tf.tensor(gradient), {
      scale: tf.scalar(scalars.scale),
      stepSize: tf.scalar(scalars.stepSize),
      varianceScale: tf.scalar(scalars.varianceScale),
      keep: tf.scalar(scalars.keep),
    });
    first = first.map((m, i) => 0.9 * m + 0.1 * scale * gradient[i]!);
    second = second.map((v, i) => 0.95 * v + 0.05 * (scale * gradient[i]!) ** 2);
    parameter = parameter.map((p, i) => {
      const mean = first[i]! / (1 - 0.9 ** update);
      const variance = second[i]! / (1 - 0.95 ** update);
      return (decay ? p * (1 - rate * 0.1) : p) - (rate * mean) / (Math.sqrt(variance) + 1e-5);
    });
    for (const [tensor, expected] of [
      [state.parameter, parameter],
      [state.first, first],
      [state.second, second],
    ] as const) {
      [...tensor.dataSync()].forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 6));
    }
  }
});

test('clips as torch.nn.utils.clip_grad_norm_ does', () => {
  expect(clipCoefficient(0.5, 1)).toBe(1);
  expect(clipCoefficient(4, 1)).toBe(1 / (4 + 1e-6));
  expect(clipCoefficient(0, 1)).toBe(1);
});

test('matrices decay, vectors only where all do', () => {
  expect([decays(options, [4, 4]), decays(options, [4])]).toEqual([true, false]);
  expect([decays({ ...options, decay: 'all' }, [4, 4]), decays({ ...options, decay: 'all' }, [4])]).toEqual([
    true,
    true,
  ]);
});
