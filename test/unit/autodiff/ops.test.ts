/** Every op's gradient against central differences of its own values, and what tfjs keeps afterwards. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { tensorOps } from '../../../backend/autodiff/ops.ts';
import type { Ops } from '../../../backend/model/ops.ts';
import type { LayerSpec, ModelSpec, NormSpec, RopeSpec } from '../../../backend/model/spec.ts';
import { numbers } from './numbers.ts';

const batch = 2;
const tokens = 5;
const width = 8;
const heads = 4;
const kvHeads = 2;
const headDimensions = 4;
const rms: NormSpec = { kind: 'rms', epsilon: 1e-5, unitOffset: 0 };
const rope: RopeSpec = {
  name: 'partial',
  dimensions: 2,
  inverseFrequencies: [0.7],
  scale: 1,
  long: null,
  growth: null,
};
const attentionOf = (softcap: number | null): ModelSpec =>
  ({ heads, kvHeads, headDimensions, attentionScale: 0.4, attentionSoftcap: softcap }) as ModelSpec;
const layerOf = (window: number | null): LayerSpec => ({ rope: null, window });

interface Case {
  /** Shapes of the values that are differentiated. */
  readonly values: readonly number[][];
  /** Shapes of parameters, which are differentiated too. */
  readonly parameters?: Readonly<Record<string, number[]>>;
  readonly compute: (ops: Ops<tf.Tensor>, ...values: tf.Tensor[]) => tf.Tensor;
}

const x = [batch, tokens, width];
const query = [batch, tokens, heads * headDimensions];
const key = [batch, tokens, kvHeads * headDimensions];
const cases: Record<string, Case> = {
  linear: {
    values: [x],
    parameters: { 'm.weight': [3, width], 'm.bias': [3] },
    compute: (ops, a) => ops.linear(a, 'm'),
  },
  linears: {
    values: [x],
    parameters: { 'm.weight': [3, width], 'n.weight': [3, width], 'n.bias': [3] },
    compute: (ops, a) => tf.mul(...(ops.linears(a, ['m', 'n']) as [tf.Tensor, tf.Tensor])),
  },
  'rms norm': { values: [x], parameters: { 'm.weight': [width] }, compute: (ops, a) => ops.norm(a, 'm', rms) },
  'rms norm that stores gain - 1': {
    values: [x],
    parameters: { 'm.weight': [width] },
    compute: (ops, a) => ops.norm(a, 'm', { ...rms, unitOffset: 1 }),
  },
  'layer norm': {
    values: [x],
    parameters: { 'm.weight': [width], 'm.bias': [width] },
    compute: (ops, a) => ops.norm(a, 'm', { ...rms, kind: 'layer' }),
  },
  addNorm: {
    values: [x, x],
    parameters: { 'm.weight': [width] },
    compute: (ops, a, b) => {
      const { sum, normed } = ops.addNorm(a, b, 'm', rms);
      return tf.mul(sum, normed);
    },
  },
  headNorm: {
    values: [x],
    parameters: { 'm.weight': [width / 2] },
    compute: (ops, a) => ops.headNorm(a, 'm', 2, rms, 'shared'),
  },
  'headNorm with a gain for each head': {
    values: [x],
    parameters: { 'm.weight': [width] },
    compute: (ops, a) => ops.headNorm(a, 'm', 2, { ...rms, kind: 'layer' }, 'each'),
  },
  'rotary of a part of each head': { values: [x], compute: (ops, a) => ops.rotary(a, 2, headDimensions, rope) },
  'attention with shared key heads': {
    values: [query, key, key],
    compute: (ops, q, k, v) => ops.attention(q, k, v, attentionOf(null), layerOf(null), ''),
  },
  'attention with window and softcap': {
    values: [query, key, key],
    compute: (ops, q, k, v) => ops.attention(q, k, v, attentionOf(1.5), layerOf(2), ''),
  },
  silu: { values: [x], compute: (ops, a) => ops.activation(a, 'silu') },
  gelu: { values: [x], compute: (ops, a) => ops.activation(a, 'gelu') },
  'gelu with tanh': { values: [x], compute: (ops, a) => ops.activation(a, 'gelu_tanh') },
  add: { values: [x, x], compute: (ops, a, b) => ops.add(a, ops.mul(b, b)) },
  mul: { values: [x, x], compute: (ops, a, b) => ops.mul(a, b) },
  scale: { values: [x], compute: (ops, a) => ops.mul(ops.scale(a, 3), a) },
  softcap: { values: [x], compute: (ops, a) => ops.softcap(a, 0.8) },
  'halves and concat': {
    values: [x],
    compute: (ops, a) => {
      const [first, second] = ops.halves(a);
      return ops.concat(ops.mul(first, second), second);
    },
  },
};

beforeAll(async () => {
  await tf.setBackend('cpu');
});

describe.each(Object.entries(cases))('%s', (_, { values, parameters = {}, compute }) => {
  const shapes = [...values, ...Object.values(parameters)];
  const names = Object.keys(parameters);
  const inputs = shapes.map((shape, i) =>
    numbers(
      shape.reduce((a, b) => a * b),
      i + 1,
    ),
  );
  // A fixed random direction makes the result a scalar.
  const project = (...tensors: tf.Tensor[]): tf.Scalar => {
    const table = new Map(names.map((name, i) => [name, tensors[values.length + i]!]));
    const result = compute(tensorOps(table), ...tensors.slice(0, values.length));
    return tf.sum(tf.mul(result, tf.tensor(numbers(result.size, 99), result.shape)));
  };
  const evaluate = (arrays: readonly Float32Array[]): number =>
    tf.tidy(() => project(...arrays.map((array, i) => tf.tensor(array.slice(), shapes[i]))).dataSync()[0]!);

  test('gradient equals central differences', () => {
    const gradients = tf.tidy(() =>
      tf
        .grads(project)(inputs.map((array, i) => tf.tensor(array, shapes[i])))
        .map((gradient) => gradient.dataSync()),
    );
    const step = 1e-2;
    let largest = 0;
    for (const [i, array] of inputs.entries()) {
      for (let j = 0; j < array.length; j += Math.ceil(array.length / 16)) {
        const shifted = (by: number): number =>
          evaluate(inputs.map((each, k) => (k === i ? each.map((value, l) => (l === j ? value + by : value)) : each)));
        const difference = (shifted(step) - shifted(-step)) / (2 * step);
        expect(Math.abs(gradients[i]![j]! - difference)).toBeLessThan(2e-3 * Math.max(1, Math.abs(difference)));
        largest = Math.max(largest, Math.abs(difference));
      }
    }
    expect(largest).toBeGreaterThan(0.05); // A gradient of nothing would agree with anything.
  });

  test('leaves no tensors behind', () => {
    const before = tf.memory().numTensors;
    tf.tidy(() => void tf.grads(project)(inputs.map((array, i) => tf.tensor(array, shapes[i]))));
    expect(tf.memory().numTensors).toBe(before);
  });
});

test('a missing parameter is named', () => {
  const ops = tensorOps(new Map([['other.weight', tf.zeros([1])]]));
  expect(() => ops.linear(tf.zeros([1, 1, 1]), 'layers.0.mlp.up_proj')).toThrow(
    'no parameter "layers.0.mlp.up_proj.weight" among other.weight',
  );
});

test('attention sees no later token, and nothing beyond the window', () => {
  const attend = (change: number): Float32Array =>
    tf.tidy(() => {
      const [q, k, v] = [query, key, key].map((shape, i) =>
        numbers(
          shape.reduce((a, b) => a * b),
          i,
        ),
      );
      const row = kvHeads * headDimensions;
      for (let j = 0; j < row; j++) {
        k![change * row + j]! += 1;
        v![change * row + j]! += 1;
      }
      const [a, b, c] = [tf.tensor(q!, query), tf.tensor(k!, key), tf.tensor(v!, key)];
      return tensorOps(new Map()).attention(a, b, c, attentionOf(null), layerOf(2), '').dataSync() as Float32Array;
    });
  const rowWidth = heads * headDimensions;
  const rowsThatDiffer = (a: Float32Array, b: Float32Array): number[] =>
    [...Array(tokens).keys()].filter((t) =>
      a.subarray(t * rowWidth, (t + 1) * rowWidth).some((value, i) => value !== b[t * rowWidth + i]),
    );
  // Position 1 of the second sequence changes nothing in the first; changing 1 against 4 differs where either is seen.
  expect(rowsThatDiffer(attend(1), attend(4))).toEqual([1, 2, 4]);
});
