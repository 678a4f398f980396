/** The compiled step equals its eager twin: every architecture, head and objective, in every kind of model. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { exitId } from '../../backend/exits/spec.ts';
import type { StepOptions } from '../../backend/tuning/step/step.ts';
import { maxDifference } from '../support/golden.ts';
import {
  allExits,
  compiled,
  crossEntropy,
  eager,
  mixed,
  optionsOf,
  randomBatch,
  settingsOf,
  tiny,
} from '../unit/tuning/steps.ts';

beforeAll(async () => {
  await tf.setBackend('cpu');
});

// Biases and a plain MLP; a parallel residual; sandwich norms and gain − 1; norms after; norms of heads; a window; soft caps; factors
// on branches and logits; one norm without bias; a bias on the output; queries that grow; dense MLPs in place of mixtures, sinks.
const kinds = [
  'gpt2',
  'gpt_neox',
  'gemma3_text',
  'olmo2',
  'qwen3',
  'mistral',
  'gemma2',
  'granite',
  'cohere',
  'phi',
  'ministral3',
  'qwen3_moe',
  'gpt_oss',
];

/** More of a trajectory for a mixture; a dense model's is in test/golden/exits.test.ts. */
const updatesOf = (family: string): number => (family === 'qwen3_moe' ? 5 : 2);

describe.each(kinds)('%s', (family) => {
  const model = tiny(family);
  test.each([
    ['cross-entropy', crossEntropy],
    ['a dynamic mix with distillation', mixed],
  ] as const)('%s', async (_, objective) => {
    const layers = model.spec.layers.length;
    const exits = allExits.map((exit) => ({ ...exit, layer: Math.min(exit.layer, layers) }));
    const batch = randomBatch(model, exits, 2, 11);
    const settings = settingsOf(exits);
    const steps = [
      await compiled(optionsOf(model, exits, objective), 2, 11),
      await eager(optionsOf(model, exits, objective)),
    ];
    for (let update = 0; update < updatesOf(family); update++) {
      const [a, b] = [await steps[0]!.update(batch, settings), await steps[1]!.update(batch, settings)];
      for (const id of exits.map(exitId)) {
        expect(Math.abs(a.losses.get(id)! - b.losses.get(id)!)).toBeLessThan(2e-5 * Math.max(1, b.losses.get(id)!));
        const norm = b.gradientNorms.get(id)!;
        expect(norm).toBeGreaterThan(1e-4);
        expect(Math.abs(a.gradientNorms.get(id)! - norm)).toBeLessThan(2e-4 * norm);
      }
    }
    const [a, b] = [await steps[0]!.state(), await steps[1]!.state()];
    for (const [name, values] of b.firstMoments) {
      const other = a.firstMoments.get(name)!;
      const scale = values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1e-6);
      expect(maxDifference(values, other) / scale).toBeLessThan(1e-3);
    }
    for (const step of steps) await step.dispose();
  });
});

test('the defer class counts as no probability of a token, whether exits are distilled or not', async () => {
  const model = tiny('gpt2');
  const exits = allExits.map((exit) => ({ ...exit, layer: Math.min(exit.layer, model.spec.layers.length) }));
  const batch = randomBatch(model, exits, 2, 11);
  const dynamic = { crossEntropy: 1, distillation: 0, weighting: 'dynamic' } as const;
  for (const open of [(options: StepOptions) => compiled(options, 2, 11), eager]) {
    const [plain, distilled] = [
      await open(optionsOf(model, exits, dynamic)),
      await open(optionsOf(model, exits, { ...dynamic, distillation: 1e-7 })),
    ];
    const [a, b] = [await plain.update(batch, settingsOf(exits)), await distilled.update(batch, settingsOf(exits))];
    for (const id of exits.map(exitId)) expect(a.losses.get(id)).toBeCloseTo(b.losses.get(id)!, 4);
    for (const step of [plain, distilled]) await step.dispose();
  }
});
