/** What a recorded graph computes, and what it leaves out. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import '../../../backend/autodiff/gradients.ts';
import { after, record, withBackend } from '../../../backend/autodiff/recorder.ts';
import { openSession, type Value } from '../../../backend/onnx/session.ts';
import { numbers } from './numbers.ts';

beforeAll(async () => {
  await tf.setBackend('cpu');
});

type Compute = (tensors: Readonly<Record<string, tf.Tensor>>) => tf.Tensor;

async function run(shapes: Record<string, number[]>, compute: Compute): Promise<{ graph: number[]; eager: number[] }> {
  const data = Object.entries(shapes).map(
    ([name, shape], i) =>
      [
        name,
        numbers(
          shape.reduce((a, b) => a * b, 1),
          i + 1,
        ),
        shape,
      ] as const,
  );
  const inputs = Object.fromEntries(data.map(([name, , shape]) => [name, { shape }]));
  const session = await openSession(record(inputs, (tensors) => ({ y: compute(tensors) })));
  const feeds = Object.fromEntries(
    data.map(([name, values, shape]): [string, Value] => [name, { data: values, shape }]),
  );
  const result = (await session.run(feeds))['y']!;
  await session.dispose();
  const eager = tf.tidy(() => {
    const y = compute(Object.fromEntries(data.map(([name, values, shape]) => [name, tf.tensor(values, [...shape])])));
    expect(result.shape).toEqual(y.shape);
    return [...y.dataSync()];
  });
  return { graph: [...(result.data as Float32Array)], eager };
}

const pairs = tf.tidy(() => [0, 2, 1, 0, 2, 4]);
const kernels: Record<string, [Record<string, number[]>, Compute]> = {
  'broadcast arithmetic': [
    { a: [2, 3, 4], b: [3, 1] },
    ({ a, b }) => tf.div(tf.sub(tf.mul(a!, b!), 0.3), tf.maximum(tf.add(a!, b!), 0.5)),
  ],
  'exp, log, roots': [
    { a: [3, 5] },
    ({ a }) => tf.mul(tf.log(tf.exp(a!)), tf.add(tf.sqrt(tf.square(a!)), tf.rsqrt(tf.add(tf.square(a!), 0.2)))),
  ],
  'tanh, sigmoid, erf, neg': [{ a: [7] }, ({ a }) => tf.add(tf.tanh(tf.neg(a!)), tf.mul(tf.sigmoid(a!), tf.erf(a!)))],
  'sum, mean, max over any axis': [
    { a: [2, 3, 4] },
    ({ a }) => tf.add(tf.sum(a!, 1, true), tf.add(tf.mean(a!, [0, 2], true), tf.max(a!, -1, true))),
  ],
  'a sum of squares': [{ a: [3, 4] }, ({ a }) => tf.sum(tf.square(a!), 1)],
  'a mean of squares': [{ a: [3, 4] }, ({ a }) => tf.mean(tf.square(a!), -1)],
  softmax: [{ a: [2, 3, 4] }, ({ a }) => tf.softmax(a!)],
  'products, transposed or not': [
    { a: [3, 4], b: [3, 5], c: [2, 5] },
    ({ a, b, c }) => tf.matMul(tf.matMul(a!, b!, true), c!, false, true),
  ],
  'batched products': [
    { a: [2, 2, 3, 4], b: [2, 2, 5, 4], c: [2, 2, 3, 6] },
    ({ a, b, c }) => tf.matMul(tf.matMul(a!, b!, false, true), c!, true, false),
  ],
  'slice, pad, concat, transpose, reshape': [
    { a: [2, 3, 4] },
    ({ a }) => {
      const part = tf.pad(tf.slice(a!, [0, 1, 1], [2, -1, 2]), [
        [0, 0],
        [1, 0],
        [0, 2],
      ]);
      return tf.transpose(tf.reshape(tf.concat([a!, part], 1), [4, 3, 4]), [2, 0, 1]);
    },
  ],
  'gather of columns': [{ a: [3, 6] }, ({ a }) => tf.gather(a!, tf.tensor1d([5, 0, 2, 2], 'int32'), 1)],
  'gather and update of elements': [
    { a: [3, 5] },
    ({ a }) => {
      const at = tf.tensor2d(pairs, [3, 2], 'int32');
      return tf.tensorScatterUpdate(a!, at, tf.mul(tf.gatherND(a!, at), -2));
    },
  ],
  fill: [{ a: [2, 3] }, ({ a }) => tf.mul(a!, tf.fill([2, 3], 1.5))],
  'products with ones': [
    { a: [2, 3], b: [1, 3] },
    ({ a, b }) => tf.add(tf.mul(a!, tf.fill([1], 1)), tf.mul(b!, tf.fill([2, 3], 1))),
  ],
  'a gradient': [
    { a: [3, 4], b: [5, 4] },
    ({ a, b }) => tf.grad((w) => tf.sum(tf.square(tf.tanh(tf.matMul(a!, w, false, true)))))(b!),
  ],
  'an order': [{ a: [3, 4] }, ({ a }) => after(tf.square(a!), [tf.sum(a!), tf.exp(a!)])],
};

test.each(Object.entries(kernels))('%s: as computed at once', async (_, [shapes, compute]) => {
  const { graph, eager } = await run(shapes, compute);
  expect(graph).toHaveLength(eager.length);
  graph.forEach((value, i) => expect(value).toBeCloseTo(eager[i]!, 5));
});

describe('the graph', () => {
  const nodes = (compute: Compute): number =>
    record({ a: { shape: [4, 4] } }, (tensors) => ({ y: compute(tensors) })).nodeCount;

  test('holds no node that nothing reads', () => {
    expect(nodes(({ a }) => tf.exp(a!))).toBe(1);
    expect(
      nodes(({ a }) => {
        tf.matMul(tf.log(a!), a!);
        return tf.exp(a!);
      }),
    ).toBe(1);
  });

  test('holds no product with ones and one node for a sum of squares', () => {
    expect(nodes(({ a }) => tf.mul(tf.exp(a!), tf.reshape(tf.fill([1], 1), [])))).toBe(1);
    expect(nodes(({ a }) => tf.sum(tf.square(a!), -1))).toBe(1);
  });

  test('keeps large constants outside its bytes', () => {
    const graph = record({ a: { shape: [64, 64] } }, ({ a }) => ({
      y: tf.add(a, tf.tensor(numbers(4096, 1), [64, 64])),
    }));
    expect(graph.externalData.map(({ data }) => data.byteLength)).toEqual([4 * 4096]);
    expect(graph.bytes.length).toBeLessThan(1000);
  });

  test('holds for other sizes where the function does', async () => {
    const flat = { shape: [{ name: 'n', example: 7 }] };
    const session = await openSession(record({ a: flat, b: flat }, ({ a, b }) => ({ y: tf.mul(tf.add(a, b), 2) })));
    for (const n of [1, 4]) {
      const [a, b] = [numbers(n, 1), numbers(n, 2)];
      const { y } = await session.run({ a: { data: a, shape: [n] }, b: { data: b, shape: [n] } });
      expect([...(y!.data as Float32Array)]).toEqual(
        [...a].map((value, i) => Math.fround(2 * Math.fround(value + b[i]!))),
      );
    }
    await session.dispose();
  });
});

describe('what cannot be recorded', () => {
  const inputs = { a: { shape: [2] } };

  test('reading values', () => {
    expect(() => record(inputs, ({ a }) => ({ y: tf.scalar(a.dataSync()[0]!) }))).toThrow('while recording');
  });

  test('a tensor of another backend', () => {
    const other = tf.tensor([1, 2]);
    expect(() => record(inputs, ({ a }) => ({ y: tf.add(a, other) }))).toThrow();
    other.dispose();
  });

  test('a kernel without a rule', () => {
    expect(() => record(inputs, ({ a }) => ({ y: tf.atan(a) }))).toThrow(/Atan/);
  });

  test('a recording within a recording', () => {
    expect(() => record(inputs, ({ a }) => (record(inputs, () => ({})), { y: a }))).toThrow('already under way');
  });

  test('and after each of these the backend before is back, and recording works', () => {
    expect(tf.getBackend()).toBe('cpu');
    expect(record(inputs, ({ a }) => ({ y: a })).outputs).toEqual([{ name: 'y', type: 'float32', shape: [2] }]);
    expect(() => withBackend('cpu', () => tf.tensor([1]).dataSync()[0])).not.toThrow();
  });
});
