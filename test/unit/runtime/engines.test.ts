/** In which form weights are computed with. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openModel } from '../../../backend/model/open.ts';
import { ggmlOptions } from '../../../backend/runtime/engines.ts';
import { fixtures } from '../../support/golden.ts';

const formOf = (file: string, options: Parameters<typeof ggmlOptions>[1]): string => {
  const model = openModel(join(fixtures, file));
  const { form } = ggmlOptions(model, options);
  model.close();
  return form;
};

test('a small model in floats is decoded in 32 bits, its features in what is fast for many tokens', () => {
  expect(formOf('tiny/llama-tied', { arithmetic: 'int8' })).toBe('wide');
  expect(formOf('tiny/llama-tied', { arithmetic: 'int8-rows' })).toBe('many');
});

test('blocks stay as they are stored, and so do floats on a graphics card', () => {
  const gpu = { gpu: { name: 'Vulkan0', file: null }, layers: 1 };
  expect(formOf('tiny/llama-tied', { arithmetic: 'int8', gpu })).toBe('stored');
  expect(formOf('gguf/llama-q4_k.gguf', { arithmetic: 'int8' })).toBe('stored');
  expect(formOf('gguf/llama-q4_k.gguf', { arithmetic: 'float32' })).toBe('exact');
});
