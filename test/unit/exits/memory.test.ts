/** The map of a memory: found if there is one, no worse than the copy, and its errors against plain loops. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import {
  entryWidth,
  firstTokens,
  fittableCuts,
  layersBehind,
  memoryCuts,
  memoryInputs,
} from '../../../backend/exits/memory.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { featureSource, type Windows } from '../../../backend/features/features.ts';
import { cutName } from '../../../backend/model/spec.ts';
import { openFeatureModel } from '../../../backend/runtime/open.ts';
import { openFit } from '../../../backend/tuning/fit/exits.ts';
import { tinyModel } from '../../support/models.ts';
import { noTeach } from '../../support/teacher.ts';

beforeAll(async () => {
  await tf.setBackend('cpu');
});

const shared = { kind: 'shared' } as const;

test('memories that are too large to be fitted are known before, and the shallowest is left out first', () => {
  const { spec } = tinyModel();
  const layers = Array.from({ length: 32 }, () => spec.layers[0]!);
  const large = { ...spec, layers, hidden: 4096, kvHeads: 32, headDimensions: 128 };
  const at = (layer: number) => ({ layer, at: 'end' }) as const;
  const cuts = [11, 21, 29].map(at);
  const within = (gigabytes: number, of: typeof large): number[] =>
    fittableCuts(of, cuts, gigabytes * 1e9).map(({ layer }) => layer);
  // Eight heads of keys, as Llama 3.1 has them: 1.41, 0.74 and 0.20 GB a matrix.
  const eight = { ...large, kvHeads: 8 };
  expect([1, 6, 8, 13, 14].map((gigabytes) => within(gigabytes, eight))).toEqual([
    [],
    [29],
    [21, 29],
    [21, 29],
    [11, 21, 29],
  ]);
  expect([14, 26].map((gigabytes) => within(gigabytes, large))).toEqual([[29], [21, 29]]);
});

describe.each(['llama-bias', 'qwen3', 'olmo2', 'gpt_neox'])('%s', async (family) => {
  const model = tinyModel(family);
  const { spec } = model;
  const exits: ExitSpec[] = [
    { layer: 1, architecture: 'lens', head: shared },
    { layer: 2, architecture: 'norm', head: shared },
  ];
  const cuts = memoryCuts(spec, exits);
  const [count, tokens] = [24, 48];
  const windows: Windows = {
    count,
    tokens,
    hash: 'made up',
    window(index) {
      const ids = Int32Array.from({ length: tokens }, (_, i) => ((index + 1) * (i + 3) * 37 + i * i) % spec.vocabulary);
      return { ids, targets: ids.map((_, i) => (i + 1 < tokens ? ids[i + 1]! : -1)) };
    },
  };
  const backbone = await openFeatureModel(
    model,
    [...cuts, { layer: spec.layers.length, at: 'end' }],
    {},
    layersBehind(spec, cuts[0]!),
  );
  const finalNorm = {
    weight: model.parameters.values('norm.weight'),
    bias: model.parameters.has('norm.bias') ? model.parameters.values('norm.bias') : null,
  };
  const source = featureSource({ model: backbone, windows, cache: null, finalNorm });
  afterAll(async () => {
    await backbone.dispose();
    model.close();
  });

  test('errors are those of plain loops, the first layer needs no correction, and a fit is no worse than the copy', async () => {
    const fit = await openFit({
      ...{ spec, exits: [], initial: new Map(), model: model.parameters },
      ...{ memories: cuts, teach: noTeach, tokens },
    });
    for (let w = 0; w < count; w++) await fit.add(await source.batch([w]));
    const memories = await fit.solveMemories();
    await fit.dispose();
    const each = entryWidth(spec);
    for (const cut of cuts) {
      const { weight, bias, errors } = memories.get(cutName(cut))!;
      const layers = layersBehind(spec, cut);
      expect(errors!.fitted.keys).toBeLessThanOrEqual(errors!.copied.keys + 1e-9);
      expect(errors!.fitted.values).toBeLessThanOrEqual(errors!.copied.values + 1e-9);
      // The last map has seen the tokens apart, too: so close, and no worse, than what is said of it.
      const [error, spread, first] = [
        [0, 0],
        [0, 0],
        [0, 0],
      ];
      const all: number[][][] = [[], []];
      for (let w = 1; w < count; w += 4) {
        const { features } = await source.batch([w]);
        const x = memoryInputs(spec, cut, features.get(cutName(cut))!);
        for (let t = firstTokens; t < tokens - 1; t++)
          for (const [n, kind] of ['keys', 'values'].entries())
            for (const [i, layer] of layers.entries())
              for (let c = 0; c < each; c++) {
                const row = (n * layers.length + i) * each + c;
                let y = bias[row]!;
                for (let j = 0; j < spec.hidden; j++)
                  y += weight[row * spec.hidden + j]! * x[t * (spec.hidden + 1) + j]!;
                const real = features.get(`${layer}.${kind}`)![t * each + c]!;
                error[n]! += (real - y) ** 2;
                if (i === 0) first[n]! += (real - y) ** 2;
                (all[n]![i * each + c] ??= []).push(real);
              }
      }
      for (const n of [0, 1])
        for (const values of all[n]!) {
          const mean = values.reduce((a, b) => a + b, 0) / values.length;
          spread[n]! += values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
        }
      expect(error[0]! / spread[0]!).toBeLessThanOrEqual(errors!.fitted.keys + 1e-6);
      expect(error[1]! / spread[1]!).toBeLessThanOrEqual(errors!.fitted.values + 1e-6);
      for (const n of [0, 1]) expect(first[n]! / spread[n]!).toBeLessThan(1e-6);
    }
  });
});
