/** An exit written in the other format than its base's says what the exit says, here and in llama.cpp, with the same tokenizer. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { plainModel } from '../../../backend/export/plain-model.ts';
import { writePlain } from '../../../backend/export/write.ts';
import { exitPath, type ExitSpec } from '../../../backend/exits/spec.ts';
import { openGguf } from '../../../backend/formats/gguf.ts';
import { bytesOf } from '../../../backend/formats/safetensors.ts';
import { openModel, type Model } from '../../../backend/model/open.ts';
import type { ParameterValues } from '../../../backend/model/overlay.ts';
import { expectedParameters } from '../../../backend/model/expected-parameters.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import { finalLogits } from '../../support/decoding.ts';
import { maxDifference, shippedModel } from '../../support/golden.ts';
import { hasLlama, openLlama } from '../../support/llama.ts';
import { caught, temporaryFolder } from '../formats/fixtures.ts';
import { exitLogits, exits, golden, ids, movedExits, named, withTokenizer, written } from './written.ts';

const texts = ['const x = 10;\n', '  return `${a}`;', 'naïve café 123456', '\t\n \n', "it's <|endoftext|> 你好"];
const tiny = (family: string): string => join(golden, 'tiny', family);
const bits = ({ parameters }: Model, name: string): Buffer => Buffer.from(bytesOf(parameters.values(name)));
/** llama.cpp rounds keys, values and what it multiplies with weights of 16 bits to 16 bits; logits reach to about 4. */
const nearlyAlike = 5e-2;
const argmax = (row: Float32Array): number => row.indexOf(Math.max(...row));

describe.each(['llama-untied', 'llama-tied', 'llama-bias', 'llama-rope3', 'qwen2', 'qwen3'])('%s as GGUF', (family) => {
  it.each(named)('%s', async (_, exit) => {
    const { file, expected, logits, layers } = await written(withTokenizer(tiny(family)), exit, 'gguf');
    expect(layers).toBe(exit.layer + (exit.architecture === 'layer' ? 1 : 0));
    expect(maxDifference(logits, expected)).toBeLessThan(1e-3);
    if (!hasLlama()) return;
    const last = expected.slice(-expected.length / ids.length);
    const said = openLlama(file).logits(ids);
    expect(maxDifference(said, last)).toBeLessThan(nearlyAlike);
    expect(argmax(said)).toBe(argmax(last));
  });
});

describe.each(['llama-f16', 'llama-bf16', 'llama-q8_0'])('%s.gguf as a directory', (name) => {
  // They have two layers.
  const fitting = named.filter(([, { layer, architecture }]) => layer + Number(architecture === 'layer') <= 2);
  it.each(fitting)('%s', async (_, exit) => {
    const { expected, logits, files } = await written(join(golden, 'gguf', `${name}.gguf`), exit, 'hf');
    expect(maxDifference(logits, expected)).toBeLessThan(1e-3);
    expect(files).toEqual(expect.arrayContaining(['config.json', 'tokenizer.json', 'tokenizer_config.json']));
  });
});

test.each(['llama-untied', 'qwen2'])('linear scaling of %s is two keys of GGUF, not factors', async (family) => {
  const folder = withTokenizer(tiny(family));
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as object;
  const scaled = { ...config, rope_theta: 500_000, rope_scaling: { rope_type: 'linear', factor: 2.5 } };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(scaled));
  const { file, expected, logits } = await written(folder, exits[0]!, 'gguf');
  expect(maxDifference(logits, expected)).toBeLessThan(1e-3);
  const last = expected.slice(-expected.length / ids.length);
  if (hasLlama()) expect(maxDifference(openLlama(file).logits(ids), last)).toBeLessThan(nearlyAlike);
  const gguf = openGguf(file);
  const keys = ['freq_base', 'scaling.type', 'scaling.factor'];
  expect(keys.map((key) => gguf.metadata.get(`${family.slice(0, 5)}.rope.${key}`))).toEqual([500_000, 'linear', 2.5]);
  expect(gguf.tensors.has('rope_freqs.weight')).toBe(false);
  gguf.close();
  const [base, plain] = [openModel(folder), openModel(file)] as const;
  const [wanted, found] = [base, plain].map(({ spec }) => spec.layers[0]!.rope!.inverseFrequencies);
  expect(maxDifference(found!, wanted!)).toBeLessThan(1e-9);
  const back = await plainModel(plain, exits[0]!, movedExits(plain, exits[0]!), 'hf');
  const writing = { model: plain, plain: back, format: 'hf', quantised: null, name: 'x', card: '', base: 'a' } as const;
  expect(caught(() => writePlain(join(temporaryFolder(), 'x'), writing)).message).toMatch(/frequencies are scaled/);
  base.close();
  plain.close();
});

test('there and back, every parameter has the bits that it had, and every text its ids', async () => {
  const exit: ExitSpec = { layer: 4, architecture: 'mlp', head: { kind: 'shared' } };
  const model = openModel(shippedModel);
  const exitParameters = movedExits(model, exit);
  const folder = temporaryFolder();
  const write = async (from: Model, name: string, format: 'hf' | 'gguf') => {
    const plain = await plainModel(from, exit, exitParameters, format);
    writePlain(join(folder, name), { model: from, plain, format, quantised: null, name, card: '', base: 'abc' });
    return format === 'gguf' ? join(folder, name, `${name}.gguf`) : join(folder, name);
  };
  const there = openModel(await write(model, 'there', 'gguf'));
  const back = openModel(await write(there, 'back', 'hf'));
  const straight = openModel(await write(model, 'straight', 'hf'));
  for (const { name } of expectedParameters(straight.spec)) {
    expect(back.parameters.has(name)).toBe(straight.parameters.has(name));
    if (straight.parameters.has(name)) expect(bits(back, name).equals(bits(straight, name))).toBe(true);
  }
  expect(back.spec).toEqual({ ...straight.spec, norm: back.spec.norm });
  expect(back.spec.norm.epsilon).toBeCloseTo(straight.spec.norm.epsilon, 10);
  const tokenizers = [shippedModel, there.path, back.path].map(loadTokenizer);
  for (const text of texts) {
    const [first, ...others] = tokenizers.map((tokenizer) => tokenizer.encode(text));
    for (const other of others) expect(other).toEqual(first);
    if (hasLlama()) expect(openLlama(there.path).tokenize(text, true)).toEqual(first);
  }
  for (const each of [model, there, back, straight]) each.close();
});

const listed = [3, 8, 20, 31, 100];

/** What the exit says of every token behind the last: those outside its list share the defer class evenly. */
async function sharedLogits(model: Model, exit: ExitSpec, exitParameters: ReadonlyMap<string, ParameterValues>) {
  const { vocabulary, hidden } = model.spec;
  const name = `${exitPath(exit)}.head.weight`;
  const { data } = exitParameters.get(name)!;
  const head = new Float32Array(vocabulary * hidden);
  for (let id = 0; id < vocabulary; id++) {
    const row = listed.includes(id) ? listed.indexOf(id) : listed.length;
    head.set(data.subarray(row * hidden, (row + 1) * hidden), id * hidden);
  }
  const whole = new Map(exitParameters).set(name, { shape: [vocabulary, hidden], data: head });
  const logits = await exitLogits(model, { ...exit, head: { kind: 'own' } }, whole);
  const share = Math.log(vocabulary - listed.length);
  return logits.slice(-vocabulary).map((logit, id) => (listed.includes(id) ? logit : logit - share));
}

describe('a shortlist', () => {
  const exit: ExitSpec = { layer: 2, architecture: 'lens', head: { kind: 'shortlist', tokens: listed } };

  test('and the bias of a head is taken with it', async () => {
    const model = openModel(tiny('phi'));
    const data = Float32Array.from(listed, (id) => id / 50);
    const bias = { shape: [listed.length + 1], data: Float32Array.of(...data, 0.7) };
    const exitParameters = new Map([...movedExits(model, exit), [`${exitPath(exit)}.head.bias`, bias]]);
    const { parameters } = await plainModel(model, exit, exitParameters, 'hf');
    const expanded = parameters.get('lm_head.bias')!.data;
    expect(listed.map((id) => expanded[id])).toEqual([...data]);
    expect(expanded[4]).toBeCloseTo(0.7 - Math.log(model.spec.vocabulary - listed.length), 6);
    model.close();
  });

  const bases = ['a directory', 'a GGUF file'] as const;
  test.each(bases)(
    'is expanded where a head may have a bias, of %s: tokens outside share the defer class',
    async (of) => {
      const folder = withTokenizer(tiny('qwen2'));
      const deeper: ExitSpec = { layer: 3, architecture: 'norm', head: { kind: 'shared' } };
      const path = of === 'a directory' ? folder : (await written(folder, deeper, 'gguf')).file;
      const model = openModel(path);
      const exitParameters = movedExits(model, exit);
      const plain = await plainModel(model, exit, exitParameters, 'gguf');
      const directory = join(temporaryFolder(), 'plain');
      writePlain(directory, { model, plain, format: 'gguf', quantised: null, name: 'plain', card: '', base: 'abc' });
      const expected = await sharedLogits(model, exit, exitParameters);
      const { vocabulary } = model.spec;
      const file = join(directory, 'plain.gguf');
      const staged = await openStagedModel(openModel(file));
      const logits = await finalLogits(staged, ids);
      await staged.dispose();
      expect(maxDifference(logits.slice(-vocabulary), expected)).toBeLessThan(1e-3);
      if (hasLlama()) expect(maxDifference(openLlama(file).logits(ids), expected)).toBeLessThan(nearlyAlike);
      model.close();
    },
  );

  test.each([
    ['llama-untied', 'gguf'],
    ['qwen2', 'hf'],
    ['gemma2', 'hf'],
  ] as const)(
    "takes the model's own rows outside it where the format has no bias of the head: %s, %s",
    async (family, format) => {
      const model = openModel(withTokenizer(tiny(family)));
      const held = movedExits(model, exit);
      const plain = await plainModel(model, exit, held, format);
      expect(plain.borrowsRows).toBe(true);
      const directory = join(temporaryFolder(), 'plain');
      writePlain(directory, { model, plain, format, quantised: null, name: 'plain', card: '', base: 'abc' });
      const { hidden } = model.spec;
      const name = `${exitPath(exit)}.head.weight`;
      const head = Float32Array.from(model.parameters.values('lm_head.weight'));
      for (const [row, id] of listed.entries())
        head.set(held.get(name)!.data.subarray(row * hidden, (row + 1) * hidden), id * hidden);
      const whole = new Map(held).set(name, { shape: model.parameters.shape('lm_head.weight'), data: head });
      const expected = await exitLogits(model, { ...exit, head: { kind: 'own' } }, whole);
      const staged = await openStagedModel(openModel(format === 'gguf' ? join(directory, 'plain.gguf') : directory));
      const logits = await finalLogits(staged, ids);
      await staged.dispose();
      expect(maxDifference(logits, expected)).toBeLessThan(1e-3);
      model.close();
    },
  );
});

test('what the other format cannot say is refused with the reason', async () => {
  const refuse = async (path: string, format: 'hf' | 'gguf'): Promise<string> => {
    const model = openModel(path);
    const plain = await plainModel(model, exits[0]!, movedExits(model, exits[0]!), format);
    const writing = { model, plain, format, quantised: null, name: 'x', card: '', base: 'abc' };
    const { message } = caught(() => writePlain(join(temporaryFolder(), 'x'), writing));
    model.close();
    return message;
  };
  expect(await refuse(tiny('gemma2'), 'gguf')).toMatch(/its family is gemma2, not one of llama, qwen2, qwen3/);
  expect(await refuse(tiny('qwen2-yarn'), 'gguf')).toMatch(/positions turn in a way of their own/);
  expect(await refuse(join(golden, 'gguf', 'granite-f16.gguf'), 'hf')).toMatch(/its family is granite/);
});
