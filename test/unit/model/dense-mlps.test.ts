/** The dense MLP that exits copy from a mixture: what its first experts give on average, and half of a shared one. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { tensorOps } from '../../../backend/autodiff/ops.ts';
import { mlp } from '../../../backend/model/layer.ts';
import type { Parameters } from '../../../backend/model/parameters.ts';
import type { MixtureSpec } from '../../../backend/model/spec.ts';
import { maxDifference } from '../../support/golden.ts';
import { tinyModel } from '../../support/models.ts';
import { numbers } from '../autodiff/numbers.ts';

const path = 'layers.1.mlp';
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** One gated MLP by plain loops; `n` of stacked matrices. */
function gated(parameters: Parameters, stem: string, n: number, width: number, x: Float32Array, limit: number | null) {
  const product = (module: string, input: ArrayLike<number>, out: number): number[] => {
    const name = `${stem}.${module}`;
    const w = parameters.values(`${name}.weight`);
    const b = parameters.has(`${name}.bias`) ? parameters.values(`${name}.bias`) : null;
    return Array.from({ length: out }, (_, row) => {
      let sum = b ? b[n * out + row]! : 0;
      for (let i = 0; i < input.length; i++) sum += w[(n * out + row) * input.length + i]! * input[i]!;
      return sum;
    });
  };
  const gate = product('gate_proj', x, width);
  const up = product('up_proj', x, width);
  const inner = gate.map((g, i) => (limit === null ? g * sigmoid(g) * up[i]! : g * sigmoid(1.702 * g) * (up[i]! + 1)));
  return product('down_proj', inner, x.length);
}

test.each(['qwen3_moe', 'qwen2_moe', 'gpt_oss'])('%s', async (family) => {
  await tf.setBackend('cpu');
  const model = tinyModel(family);
  const { spec, parameters } = model;
  const { chosen, feedForward, shared, limit } = spec.layers[1]!.mixture as MixtureSpec;
  const x = numbers(spec.hidden, 3);
  const expected = new Float64Array(spec.hidden);
  for (let n = 0; n < chosen; n++)
    gated(parameters, `${path}.experts`, n, feedForward, x, limit).forEach((y, i) => (expected[i]! += y / chosen));
  if (shared !== null)
    gated(parameters, `${path}.shared_expert`, 0, shared, x, null).forEach((y, i) => (expected[i]! += y / 2));
  const names = ['gate_proj', 'up_proj', 'down_proj'].flatMap((m) => [`${path}.${m}.weight`, `${path}.${m}.bias`]);
  const table = new Map(
    names
      .filter((name) => parameters.has(name))
      .map((name) => [name, tf.tensor(parameters.values(name), [...parameters.shape(name)])]),
  );
  expect(table.size).toBe(family === 'gpt_oss' ? 6 : 3);
  const y = mlp(tensorOps(table), spec, tf.tensor(x, [1, 1, spec.hidden]), path);
  expect(maxDifference(await y.data(), expected)).toBeLessThan(1e-5);
  expect(Math.max(...expected.map(Math.abs))).toBeGreaterThan(1e-2);
  model.close();
});
