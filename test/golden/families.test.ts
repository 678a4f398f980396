/** Every family and every GGUF type against PyTorch and Transformers: logits, the residual stream, greedy tokens. */
import { existsSync, readdirSync, mkdtempSync, copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { families as known } from '../../backend/model/families/index.ts';
import { openModel } from '../../backend/model/open.ts';
import { noExits, openFeatureModel, openStagedModel } from '../../backend/runtime/open.ts';
import { decodeAll, finalLogits, idsOf, plainRequest } from '../support/decoding.ts';
import { ggufTwin, twins } from '../support/gguf-twins.ts';
import { fixtures, maxDifference, readGolden } from '../support/golden.ts';

interface FamilyGolden {
  ids: number[];
  logits: number[][];
  hidden_l2: number[][];
  hidden_last_first8: number[][];
  greedy8: number[];
}

const families = readdirSync(join(fixtures, 'tiny'));
const ggufs = readdirSync(join(fixtures, 'gguf')).filter((name) => name.endsWith('.gguf'));

test('all golden models are there', () => {
  expect(families).toHaveLength(31);
  expect(ggufs).toHaveLength(21);
});

test('every family has one', () => {
  const types = families.map((name) => readGolden<{ model_type: string }>('tiny', name, 'config.json').model_type);
  expect(known.filter((family) => !family.types.some((type) => types.includes(type)))).toEqual([]);
});

async function fullLogits(path: string, ids: number[]): Promise<Float32Array> {
  const model = openModel(path);
  const staged = await openStagedModel(model);
  const logits = await finalLogits(staged, ids);
  await staged.dispose();
  model.close();
  return logits;
}

describe.each(families)('family %s', (family) => {
  const golden = readGolden<FamilyGolden>('tiny', family, 'golden.json');
  const directory = join(fixtures, 'tiny', family);

  test('logits', async () => {
    const logits = await fullLogits(directory, golden.ids);
    expect(maxDifference(logits, golden.logits.flat())).toBeLessThan(1e-4);
  });

  test('logits from a config as Transformers 5 writes it', async () => {
    const copy = mkdtempSync(join(tmpdir(), 'early-exit-'));
    try {
      for (const file of readdirSync(directory)) copyFileSync(join(directory, file), join(copy, file));
      expect(existsSync(join(copy, 'config.v5.json'))).toBe(true);
      copyFileSync(join(copy, 'config.v5.json'), join(copy, 'config.json'));
      expect(maxDifference(await fullLogits(copy, golden.ids), golden.logits.flat())).toBeLessThan(1e-4);
    } finally {
      rmSync(copy, { recursive: true });
    }
  });

  test('the residual stream after every layer', async () => {
    const model = openModel(directory);
    const cuts = model.spec.layers.map((_, i) => ({ layer: i + 1, at: 'end' as const }));
    const features = await openFeatureModel(model, cuts);
    const streams = await features.features(Int32Array.from(golden.ids), 1, golden.ids.length);
    const { hidden } = model.spec;
    for (const [i, stream] of streams.entries()) {
      const norms = golden.ids.map((_, t) => Math.hypot(...stream.subarray(t * hidden, (t + 1) * hidden)));
      const scale = Math.max(...golden.hidden_l2[i + 1]!);
      expect(maxDifference(norms, golden.hidden_l2[i + 1]!) / scale).toBeLessThan(1e-4);
      const last = stream.subarray((golden.ids.length - 1) * hidden);
      expect(maxDifference(last.subarray(0, 8), golden.hidden_last_first8[i + 1]!) / scale).toBeLessThan(1e-4);
    }
    await features.dispose();
    model.close();
  });
});

describe.each(ggufs)('GGUF %s', (file) => {
  test('logits', async () => {
    const golden = readGolden<{ ids: number[]; logits: number[][] }>('gguf', file.replace('.gguf', '.golden.json'));
    const logits = await fullLogits(join(fixtures, 'gguf', file), golden.ids);
    expect(maxDifference(logits, golden.logits.flat())).toBeLessThan(1e-3);
  });
});

/** As people run them: weights as they are stored, activations rounded as llama.cpp does. */
const rounded = ggufs.filter((file) => /^(gemma2|granite|starcoder2|qwen3moe)-/.test(file));
describe.each(rounded)('weights as stored, GGUF %s', (file) => {
  test('logits and greedy tokens', async () => {
    const golden = readGolden<FamilyGolden>('gguf', file.replace('.gguf', '.golden.json'));
    const model = openModel(join(fixtures, 'gguf', file));
    const staged = await openStagedModel(model, noExits, { arithmetic: 'int8' });
    const tolerance = file.includes('f16') ? 2e-2 : 0.5;
    expect(maxDifference(await finalLogits(staged, golden.ids), golden.logits.flat())).toBeLessThan(tolerance);
    const { tokens } = await decodeAll(staged, plainRequest([golden.ids], 8));
    expect(idsOf(tokens[0]!)).toEqual(golden.greedy8);
    await staged.dispose();
    model.close();
  });
});

/** By llama.cpp's names and its converter's conventions: the same numbers as the safetensors model. */
describe.each(Object.keys(twins))('the GGUF twin of %s', (family) => {
  test('logits', async () => {
    const golden = readGolden<FamilyGolden>('tiny', family, 'golden.json');
    const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
    try {
      const file = join(folder, `${family}.gguf`);
      writeFileSync(file, ggufTwin(family));
      expect(maxDifference(await fullLogits(file, golden.ids), golden.logits.flat())).toBeLessThan(1e-4);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
