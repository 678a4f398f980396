/** A generator stays open for the next request, and only while what it was made of is the same. */
import { cpSync, mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openGenerator, releaseGenerator } from '../../../backend/recipes/generator.ts';
import { generate } from '../../../backend/recipes/generate.ts';
import { parseOptions } from '../../../protocol/options.ts';
import { shippedModel } from '../../support/golden.ts';

const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
const model = join(folder, 'model');
cpSync(shippedModel, model, { recursive: true });
afterAll(async () => {
  await releaseGenerator();
  rmSync(folder, { recursive: true });
});

const { signal } = new AbortController();
const optionsOf = (different: Record<string, unknown> = {}) =>
  parseOptions('generate', { model, prompt: ['const x = '], device: 'cpu', maxTokens: 8, ...different });

test('a generator is kept, until the model’s files or the options change', async () => {
  const first = await openGenerator(optionsOf(), signal);
  expect(await openGenerator(optionsOf({ prompt: ['let y = '], temperature: 1 }), signal)).toBe(first);
  utimesSync(model, new Date(), new Date(Date.now() + 5000));
  const second = await openGenerator(optionsOf(), signal);
  expect(second).not.toBe(first);
  expect(await openGenerator(optionsOf({ precision: 'exact' }), signal)).not.toBe(second);
});

test('a kept generator goes on from the text it wrote', async () => {
  const textOf = async (prompt: string): Promise<string> => {
    for await (const event of generate(optionsOf({ prompt: [prompt] }), signal)) {
      if (event.type === 'generated') return event.texts[0]!;
    }
    throw new Error('nothing was generated');
  };
  const first = await textOf('const x = ');
  const onward = await textOf(`const x = ${first}`);
  const { memory } = await openGenerator(optionsOf(), signal);
  expect(memory.text!.ids.length).toBeGreaterThan(12);
  await releaseGenerator();
  expect(await textOf(`const x = ${first}`)).toBe(onward);
});
