/** The tfjs interpreter of the layer against PyTorch and Transformers, eager and recorded, for every family without mixtures. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { tensorOps } from '../../backend/autodiff/ops.ts';
import { record } from '../../backend/autodiff/recorder.ts';
import { stage } from '../../backend/model/layer.ts';
import { finalLogits } from '../support/logits.ts';
import { openModel } from '../../backend/model/open.ts';
import { expectedParameters } from '../../backend/model/expected-parameters.ts';
import { finalCut, inputCut } from '../../backend/model/spec.ts';
import { openSession } from '../../backend/onnx/session.ts';
import { fixtures, isMixture, maxDifference, readGolden } from '../support/golden.ts';

const families = readdirSync(join(fixtures, 'tiny')).filter((name) => !isMixture(name));

beforeAll(async () => {
  await tf.setBackend('cpu');
});

test('all golden models are there', () => {
  expect(families).toHaveLength(25);
});

describe.each(families)('family %s', (family) => {
  const { ids, logits } = readGolden<{ ids: number[]; logits: number[][] }>('tiny', family, 'golden.json');
  const { spec, parameters } = openModel(join(fixtures, 'tiny', family));
  const names = [...expectedParameters(spec).map(({ name }) => name), 'lm_head.weight'].filter((name) =>
    parameters.has(name),
  );
  const embedding = parameters.rows('embed_tokens.weight', ids).map((x) => x * spec.embeddingScale);
  if (spec.learnedPositions) {
    const positions = parameters.rows('embed_positions.weight', [...ids.keys()]);
    positions.forEach((x, i) => (embedding[i]! += x));
  }
  const shape = [1, ids.length, spec.hidden];

  test('eager', () => {
    const values = tf.tidy(() => {
      const table = new Map(
        names.map((name) => [name, tf.tensor(parameters.values(name), [...parameters.shape(name)])]),
      );
      const ops = tensorOps(table);
      const hidden = stage(ops, spec, inputCut, finalCut(spec), tf.tensor(embedding, shape));
      return finalLogits(ops, spec, hidden).dataSync();
    });
    expect(maxDifference(values, logits.flat())).toBeLessThan(1e-4);
  });

  test('recorded', async () => {
    const inputs = Object.fromEntries(names.map((name) => [name, { shape: parameters.shape(name) }]));
    const graph = record({ ...inputs, embedding: { shape } }, ({ embedding, ...table }) => {
      const ops = tensorOps(new Map(Object.entries(table)));
      return { logits: finalLogits(ops, spec, stage(ops, spec, inputCut, finalCut(spec), embedding)) };
    });
    const session = await openSession(graph);
    const feeds = names.map(
      (name) => [name, { data: parameters.values(name), shape: parameters.shape(name) }] as const,
    );
    const results = await session.run({ ...Object.fromEntries(feeds), embedding: { data: embedding, shape } });
    expect(maxDifference(results['logits']!.data as Float32Array, logits.flat())).toBeLessThan(1e-4);
    await session.dispose();
  });
});
