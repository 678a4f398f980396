/** The vocabulary exit says behind the last layer what the model says, of the tokens that it reads. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { vocabularyExit } from '../../../backend/exits/vocabulary-exit.ts';
import { openModel, type Model } from '../../../backend/model/open.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import { quantiseBlocks } from '../../../backend/formats/quantise-blocks.ts';
import { fixtures } from '../../support/golden.ts';
import { random } from '../../support/random.ts';
import { tiny } from '../tuning/steps.ts';

/** A sixth, in groups of 32 rows with that of the defer class. */
const readOf = (vocabulary: number): number => 32 * Math.ceil(vocabulary / 6 / 32) - 1;
const vocabulary = 70_000;
const read = readOf(vocabulary);
const list = [69_999, 5, 40_000];
const shortlisted: ExitSpec = { layer: 1, architecture: 'lens', head: { kind: 'shortlist', tokens: list } };

interface WithLargeHead {
  readonly model: Model;
  readonly head: Float32Array;
  /** How many rows of it were read at a time. */
  readonly asked: number[];
}

/** A tiny model with a large head of its own, in floats or in bytes. */
function withLargeHead(vocabulary: number, type: 'Q8_0' | null = null): WithLargeHead {
  const model = type ? openModel(join(fixtures, 'gguf', 'llama-q8_0.gguf')) : tiny('llama-untied');
  const { hidden } = model.spec;
  const next = random(3);
  const head = Float32Array.from({ length: vocabulary * hidden }, () => next() - 0.5);
  const bytes = type && quantiseBlocks(type, head);
  const asked: number[] = [];
  const isHead = (name: string): boolean => name === 'lm_head.weight';
  const chosen = <T extends Float32Array | Uint8Array>(from: T, rows: ArrayLike<number>): T => {
    const width = from.length / vocabulary;
    const into = from.slice(0, rows.length * width) as T;
    for (let i = 0; i < rows.length; i++) into.set(from.subarray(rows[i]! * width, (rows[i]! + 1) * width), i * width);
    return into;
  };
  const parameters: Model['parameters'] = {
    ...model.parameters,
    shape: (name) => (isHead(name) ? [vocabulary, hidden] : model.parameters.shape(name)),
    values: (name) => (isHead(name) ? head : model.parameters.values(name)),
    rows(name, rows) {
      if (!isHead(name)) return model.parameters.rows(name, rows);
      asked.push(rows.length);
      return chosen(head, rows);
    },
    storedType: (name) => (isHead(name) ? type : model.parameters.storedType(name)),
    stored: (name, allocate, rows) =>
      isHead(name) ? (rows ? chosen(bytes!, rows) : bytes!) : model.parameters.stored(name, allocate, rows),
  };
  return { model: { ...model, spec: { ...model.spec, vocabulary, tied: false }, parameters }, head, asked };
}

test('it reads the tokens of the shortlists and those with the lowest ids, by the rows of the model, when it is first asked', () => {
  const { model, head, asked } = withLargeHead(vocabulary);
  const { layers, hidden } = model.spec;
  const { exit, parameters } = vocabularyExit(model.spec, model.parameters, [shortlisted])!;
  expect(exit).toMatchObject({ layer: layers.length, architecture: 'norm', head: { kind: 'shortlist' } });
  const { tokens } = exit.head as { readonly tokens: readonly number[] };
  expect(tokens).toHaveLength(read);
  expect(new Set(tokens).size).toBe(read);
  expect(tokens).toEqual([...Array(read - 2).keys(), 40_000, 69_999]);
  expect(asked).toEqual([]);
  const { shape, data } = parameters.get(`exits.${layers.length}.norm.head.weight`)!;
  expect(shape).toEqual([read + 1, hidden]);
  expect(data.subarray(0, hidden)).toEqual(head.subarray(0, hidden));
  expect(data.subarray((read - 1) * hidden, read * hidden)).toEqual(head.subarray(69_999 * hidden, 70_000 * hidden));
  expect(parameters.get(`exits.${layers.length}.norm.norm.weight`)!.data).toEqual(
    model.parameters.values('norm.weight'),
  );
  expect(asked).toEqual([read + 1]);
  expect(parameters.get(`exits.${layers.length}.norm.head.weight`)!.data).toBe(data);
  model.close();
});

test('there is none of a small vocabulary, without a shortlist, or beside an exit behind the last layer', () => {
  const { model } = withLargeHead(vocabulary);
  const { spec, parameters } = model;
  const last: ExitSpec = { ...shortlisted, layer: spec.layers.length };
  expect(vocabularyExit({ ...spec, vocabulary: 60_000 }, parameters, [shortlisted])).toBeNull();
  expect(vocabularyExit(spec, parameters, [{ ...shortlisted, head: { kind: 'own' } }])).toBeNull();
  expect(vocabularyExit(spec, parameters, [shortlisted, last])).toBeNull();
  model.close();
});

/** Of a text of 24 tokens: what the exit says at each, and the model's logits there. */
async function readouts({ model, arithmetic }: { model: Model; arithmetic: 'float32' | 'int8' }) {
  const { exit, parameters } = vocabularyExit(model.spec, model.parameters, [shortlisted])!;
  const staged = await openStagedModel(model, { specs: [exit], parameters }, { arithmetic, head: 'exact' });
  const [point, final] = staged.exits;
  expect(point).toMatchObject({ id: `${model.spec.layers.length}:norm`, readsUnlisted: true, remembers: false });
  expect(point!.stages).toBe(final!.stages);
  const ids = Array.from({ length: 24 }, (_, i) => (i * 31 + 7) % 60);
  const slots = staged.openSlots(1);
  slots.enter(0, ids);
  for (const stage of staged.stages.keys()) await slots.run(stage, [ids.length]);
  const [own] = await slots.read(0, [0], [ids.length], { logits: false });
  const [full] = await slots.read(1, [0], [ids.length], { logits: true });
  slots.dispose();
  await staged.dispose();
  const { tokens } = exit.head as { readonly tokens: readonly number[] };
  const width = model.spec.vocabulary;
  return own!.readouts.map(({ token }, at) => {
    const logits = full!.logits!.subarray(at * width, (at + 1) * width);
    return { token, logits, best: tokens.reduce((a, b) => (logits[b]! > logits[a]! ? b : a)) };
  });
}

test('it says what the model says if that is among its tokens', async () => {
  const { model } = withLargeHead(vocabulary);
  const found = await readouts({ model, arithmetic: 'float32' });
  expect(found.map(({ token }) => token)).toEqual(found.map(({ best }) => best));
  model.close();
});

test('its rows are taken as the file has them, large ones in fewer bits, which changes near ties alone', async () => {
  const { model, asked } = withLargeHead(200_000, 'Q8_0');
  const found = await readouts({ model, arithmetic: 'int8' });
  for (const { token, best, logits } of found) expect(logits[best]! - logits[token]!).toBeLessThan(0.3);
  // Those of the text that the list lacks are read in floats, one by one.
  expect(Math.max(0, ...asked)).toBeLessThan(24);
  model.close();
});
