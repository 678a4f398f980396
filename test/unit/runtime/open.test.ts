/** In which form weights are computed with. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openModel } from '../../../backend/model/open.ts';
import { finalCut } from '../../../backend/model/spec.ts';
import { ggmlOptions, openFeatureModel } from '../../../backend/runtime/open.ts';
import { fixtures, maxDifference, shippedModel } from '../../support/golden.ts';

const formOf = (file: string, options: Parameters<typeof ggmlOptions>[1]): string => {
  const model = openModel(join(fixtures, file));
  const { form } = ggmlOptions(model, options);
  model.close();
  return form;
};

test('a small model in floats is decoded in 32 bits, its features in what is fast for many tokens', () => {
  expect(formOf('tiny/llama-tied', { arithmetic: 'int8' })).toBe('wide');
  expect(formOf('tiny/llama-tied', { arithmetic: 'int8-many' })).toBe('many');
});

test('blocks stay as they are stored, and so do floats on a graphics card', () => {
  const gpu = { gpu: { name: 'Vulkan0', file: null }, layers: 1 };
  expect(formOf('tiny/llama-tied', { arithmetic: 'int8', gpu })).toBe('stored');
  expect(formOf('gguf/llama-q4_k.gguf', { arithmetic: 'int8' })).toBe('stored');
  expect(formOf('gguf/llama-q4_k.gguf', { arithmetic: 'float32' })).toBe('exact');
});

test('windows to learn from stay near the exact ones, and a window does not depend on its company', async () => {
  const model = openModel(shippedModel);
  const cuts = [finalCut(model.spec)];
  const exact = await openFeatureModel(model, cuts);
  const rounded = await openFeatureModel(model, cuts, { arithmetic: 'int8-many' });
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
