/** Products of bytes with a scale for each token and each row of the weight. */
import { expect, test } from 'vitest';
import { largestRounded, roundRows } from '../../../backend/formats/quantisation.ts';
import { GraphBuilder } from '../../../backend/onnx/builder.ts';
import { graphOps } from '../../../backend/onnx/ops.ts';
import { openModel } from '../../../backend/model/open.ts';
import type { Parameters } from '../../../backend/model/parameters.ts';
import { finalCut } from '../../../backend/model/spec.ts';
import { openFeatureModel } from '../../../backend/runtime/open.ts';
import { openSession } from '../../../backend/onnx/session.ts';
import { maxDifference, shippedModel } from '../../support/golden.ts';

const [rows, columns, tokens] = [48, 640, 7];

/** Parameters with one matrix, `only.weight`. */
const single = (weight: Float32Array): Parameters => ({
  has: (name) => name === 'only.weight',
  shape: () => [rows, columns],
  values: () => weight,
  rows: () => weight,
  blockForm: () => null,
  blocks: () => {
    throw new Error('not in blocks');
  },
  storedType: () => null,
  stored: () => {
    throw new Error('not stored');
  },
});

async function product(weight: Float32Array, x: Float32Array): Promise<Float32Array> {
  const builder = new GraphBuilder();
  builder.input('x', 'float32', ['batch', 'tokens', columns]);
  const ops = graphOps(builder, single(weight), { arithmetic: 'int8-rows', past: false });
  builder.output(ops.linear('x', 'only'), 'y', 'float32', ['batch', 'tokens', rows]);
  const session = await openSession(builder.build());
  const { y } = await session.run({ x: { data: x, shape: [1, x.length / columns, columns] } });
  await session.dispose();
  return y!.data as Float32Array;
}

/** The same in plain loops. */
function expected(weight: Float32Array, x: Float32Array): number[] {
  const { quants, scales } = roundRows(weight, rows, columns);
  return Array.from({ length: (x.length / columns) * rows }, (_, i) => {
    const [token, row] = [Math.trunc(i / rows), i % rows];
    const values = x.subarray(token * columns, (token + 1) * columns);
    const peak = values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    if (peak === 0) return 0;
    const sum = values.reduce((s, v, c) => s + roundHalfEven(Math.fround(v / peak) * 127) * quants[c * rows + row]!, 0);
    return (sum * scales[row]! * peak) / 127;
  });
}

const roundHalfEven = (x: number): number => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

test('equals plain loops, where a token has an outlier or is all zeros, too', async () => {
  const weight = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * 1.7) * (1 + (i % 11)));
  const x = Float32Array.from({ length: tokens * columns }, (_, i) => Math.cos(i * 0.37) * (i % 501 === 0 ? 90 : 1));
  x.fill(0, 3 * columns, 4 * columns);
  const wanted = expected(weight, x);
  const size = Math.max(...wanted.map(Math.abs));
  expect(maxDifference(await product(weight, x), wanted)).toBeLessThan(1e-5 * size);
});

test('does not clip where every product is as large as it can be', async () => {
  const weight = new Float32Array(rows * columns).fill(largestRounded);
  const x = new Float32Array(tokens * columns).fill(127);
  const exact = columns * largestRounded * 127;
  expect(maxDifference(await product(weight, x), new Array<number>(tokens * rows).fill(exact))).toBeLessThan(
    1e-6 * exact,
  );
});

test('a backbone of rounded rows stays near the exact one, and a token does not depend on its company', async () => {
  const model = openModel(shippedModel);
  const cuts = [finalCut(model.spec)];
  const exact = await openFeatureModel(model, cuts);
  const rounded = await openFeatureModel(model, cuts, { arithmetic: 'int8-rows' });
  const ids = Int32Array.from({ length: 12 }, (_, i) => (7 * i + 3) % model.spec.vocabulary);
  const [wanted] = await exact.features(ids, 1, 12);
  const [alone] = await rounded.features(ids, 1, 12);
  const [twice] = await rounded.features(Int32Array.from([...ids.toReversed(), ...ids]), 2, 12);
  const norm = (values: Float32Array): number => Math.hypot(...values);
  expect(norm(wanted!.map((v, i) => v - alone![i]!)) / norm(wanted!)).toBeLessThan(0.1);
  expect(maxDifference(twice!.subarray(alone!.length), alone!)).toBe(0);
  for (const each of [exact, rounded]) await each.dispose();
  model.close();
});
