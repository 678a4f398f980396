/** The vocabulary exit says behind the last layer what the model says, of the tokens that it reads. */
import { expect, test } from 'vitest';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { vocabularyExit } from '../../../backend/exits/vocabulary-exit.ts';
import type { Model } from '../../../backend/model/open.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import { random } from '../../support/random.ts';
import { tiny } from '../tuning/steps.ts';

const vocabulary = 70_000;
/** A sixth, in groups of 32 rows with that of the defer class. */
const read = 32 * Math.ceil(vocabulary / 6 / 32) - 1;
const list = [69_999, 5, 40_000];
const shortlisted: ExitSpec = { layer: 2, architecture: 'lens', head: { kind: 'shortlist', tokens: list } };

/** A tiny model with a large head of its own; `asked`: the rows that were asked for. */
function withLargeHead(): { readonly model: Model; readonly head: Float32Array; readonly asked: number[] } {
  const model = tiny('llama-untied');
  const { hidden } = model.spec;
  const next = random(3);
  const head = Float32Array.from({ length: vocabulary * hidden }, () => next() - 0.5);
  const asked: number[] = [];
  const isHead = (name: string): boolean => name === 'lm_head.weight';
  const parameters: Model['parameters'] = {
    ...model.parameters,
    shape: (name) => (isHead(name) ? [vocabulary, hidden] : model.parameters.shape(name)),
    values: (name) => (isHead(name) ? head : model.parameters.values(name)),
    rows(name, rows) {
      if (!isHead(name)) return model.parameters.rows(name, rows);
      asked.push(rows.length);
      return Float32Array.from(Array.from(rows).flatMap((id) => [...head.subarray(id * hidden, (id + 1) * hidden)]));
    },
    storedType: (name) => (isHead(name) ? null : model.parameters.storedType(name)),
  };
  return { model: { ...model, spec: { ...model.spec, vocabulary }, parameters }, head, asked };
}

test('it reads the tokens of the shortlists and those with the lowest ids, by the rows of the model, when it is first asked', () => {
  const { model, head, asked } = withLargeHead();
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
  expect(asked).toHaveLength(2);
  expect(parameters.get(`exits.${layers.length}.norm.head.weight`)!.data).toBe(data);
  model.close();
});

test('there is none of a small vocabulary, without a shortlist, or beside an exit behind the last layer', () => {
  const { model } = withLargeHead();
  const { spec, parameters } = model;
  const last: ExitSpec = { ...shortlisted, layer: spec.layers.length };
  expect(vocabularyExit({ ...spec, vocabulary: 60_000 }, parameters, [shortlisted])).toBeNull();
  expect(vocabularyExit(spec, parameters, [{ ...shortlisted, head: { kind: 'own' } }])).toBeNull();
  expect(vocabularyExit(spec, parameters, [shortlisted, last])).toBeNull();
  model.close();
});

test('it says what the model says if that is among its tokens, and reads those of the text, too', async () => {
  const { model } = withLargeHead();
  const { exit, parameters } = vocabularyExit(model.spec, model.parameters, [shortlisted])!;
  const { tokens } = exit.head as { readonly tokens: readonly number[] };
  const staged = await openStagedModel(model, { specs: [exit], parameters });
  const [point] = staged.exits;
  expect(point).toMatchObject({ id: `${model.spec.layers.length}:norm`, readsUnlisted: true, remembers: false });
  expect(point!.stages).toBe(staged.exits.at(-1)!.stages);
  const ids = Array.from({ length: 24 }, (_, i) => (i * 31 + 7) % 60);
  const slots = staged.openSlots(1);
  slots.enter(0, ids);
  for (const stage of staged.stages.keys()) await slots.run(stage, [ids.length]);
  const [own] = await slots.read(0, [0], [ids.length], { logits: false });
  const [full] = await slots.read(1, [0], [ids.length], { logits: true });
  const known = new Set([...tokens, ...ids]);
  for (const [at, { token }] of own!.readouts.entries()) {
    const logits = full!.logits!.subarray(at * vocabulary, (at + 1) * vocabulary);
    const best = [...known].reduce((a, b) => (logits[b]! > logits[a]! ? b : a));
    expect(token).toBe(best);
  }
  slots.dispose();
  await staged.dispose();
  model.close();
});
