/** What an exit says of known text is what the reference and TensorFlow.js say of it. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { tensorOps } from '../../../backend/autodiff/ops.ts';
import { exitLogits } from '../../support/logits.ts';
import { exitParameters, frozenParameters } from '../../../backend/exits/parameters.ts';
import { exitPath, type ExitSpec } from '../../../backend/exits/spec.ts';
import type { Model } from '../../../backend/model/open.ts';
import { overlayParameters } from '../../../backend/model/overlay.ts';
import { finalCut } from '../../../backend/model/spec.ts';
import { openExitScorer, openFeatureModel, type ExitSet } from '../../../backend/runtime/open.ts';
import { fixtures, isMixture, maxDifference, readGolden } from '../../support/golden.ts';
import { copiedExits, tinyModel } from '../../support/models.ts';

const families = readdirSync(join(fixtures, 'tiny'));
const head = { kind: 'shared' } as const;

beforeAll(async () => {
  await tf.setBackend('cpu');
});

/** −log probability of the target, the best class and its probability, by plain loops over a row of logits. */
function judged(row: ArrayLike<number>, target: number): { loss: number; token: number; confidence: number } {
  const values = Array.from(row);
  const most = Math.max(...values);
  const logSum = most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
  return { loss: logSum - values[target]!, token: values.indexOf(most), confidence: Math.exp(most - logSum) };
}

test.each(families)('the final exit of %s', async (family) => {
  const { ids, logits } = readGolden<{ ids: number[]; logits: number[][] }>('tiny', family, 'golden.json');
  const model = tinyModel(family);
  const backbone = await openFeatureModel(model, [finalCut(model.spec)]);
  const [stream] = await backbone.features(Int32Array.from(ids), 1, ids.length);
  const scorer = await openExitScorer(model, null);
  const scored = await scorer.score(stream!, ids, 1, ids.length);
  const wanted = logits.map((row, i) => judged(row, ids[i]!));
  expect(
    maxDifference(
      scored.loss,
      wanted.map(({ loss }) => loss),
    ),
  ).toBeLessThan(1e-4);
  expect(
    maxDifference(
      scored.confidence,
      wanted.map(({ confidence }) => confidence),
    ),
  ).toBeLessThan(1e-4);
  expect([...scored.token]).toEqual(wanted.map(({ token }) => token));
  for (const each of [backbone, scorer]) await each.dispose();
  model.close();
});

async function expectSame(model: Model, exit: ExitSpec, exitValues: ExitSet['parameters']): Promise<void> {
  const [batch, tokens] = [2, 6];
  const { spec } = model;
  const stream = Float32Array.from({ length: batch * tokens * spec.hidden }, (_, i) => 2 * Math.sin(1.3 * i));
  const targets = Int32Array.from({ length: batch * tokens }, (_, i) => i + 3);
  const scorer = await openExitScorer(model, exit, exitValues);
  const scored = await scorer.score(stream, targets, batch, tokens);
  await scorer.dispose();
  const parameters = overlayParameters(model.parameters, exitValues);
  const names = new Set([
    ...exitParameters(spec, exit, model.parameters).map(({ name }) => name),
    ...frozenParameters(exit, model.parameters, true),
    ...exitValues.keys(),
  ]);
  const logits = tf.tidy(() => {
    const table = [...names].map(
      (name) => [name, tf.tensor(parameters.values(name), [...parameters.shape(name)])] as const,
    );
    return exitLogits(
      tensorOps(new Map(table)),
      spec,
      exit,
      tf.tensor(stream, [batch, tokens, spec.hidden]),
    ).dataSync();
  });
  const wanted = Array.from(targets, (target, i) =>
    judged(logits.subarray(i * spec.vocabulary, (i + 1) * spec.vocabulary), target),
  );
  expect(
    maxDifference(
      scored.loss,
      wanted.map(({ loss }) => loss),
    ),
  ).toBeLessThan(1e-4);
  expect(
    maxDifference(
      scored.confidence,
      wanted.map(({ confidence }) => confidence),
    ),
  ).toBeLessThan(1e-4);
  expect([...scored.token]).toEqual(wanted.map(({ token }) => token));
}

describe('an exit says what TensorFlow.js says', () => {
  test.each(families.filter((family) => !isMixture(family)))('a lens of %s', async (family) => {
    const model = tinyModel(family);
    const lens: ExitSpec = { layer: 1, architecture: 'lens', head };
    await expectSame(model, lens, copiedExits(model, [lens]).parameters);
    model.close();
  });

  test('of a LayerNorm of each head, with its bias', async () => {
    const phi = tinyModel('phi');
    const model: Model = { ...phi, spec: { ...phi.spec, qkNorm: 'head' } };
    const exit: ExitSpec = { layer: 1, architecture: 'layer', head };
    const norms = ['q_norm', 'k_norm'].flatMap((norm) =>
      ['weight', 'bias'].map((kind, k) => {
        const data = Float32Array.from({ length: phi.spec.headDimensions }, (_, i) => 1 - k + Math.cos(1.7 * i));
        return [`${exitPath(exit)}.layer.self_attn.${norm}.${kind}`, { shape: [data.length], data }] as const;
      }),
    );
    await expectSame(model, exit, new Map([...copiedExits(phi, [exit]).parameters, ...norms]));
    phi.close();
  });
});
