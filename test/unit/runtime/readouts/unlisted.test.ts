/** An exit with a shortlist also reads the tokens of the text that the list lacks, by the model's own rows. */
import { describe, expect, test } from 'vitest';
import { initialiseExit } from '../../../../backend/exits/initialise.ts';
import { keepsRows } from '../../../../backend/exits/kept-rows.ts';
import type { ExitSpec } from '../../../../backend/exits/spec.ts';
import { openStagedModel, type ExitSet } from '../../../../backend/runtime/open.ts';
import type { Slots, StagedModel } from '../../../../backend/runtime/staged-model.ts';
import {
  arrangeUnlisted,
  copyUnlisted,
  countUntil,
  enterUnlisted,
  mostUnlisted,
  newUnlisted,
  sizeFor,
  truncateUnlisted,
} from '../../../../backend/runtime/readouts/unlisted.ts';
import { copiedExits, tinyModel } from '../../../support/models.ts';

describe('the tokens of a text that a list lacks', () => {
  const lists = [new Set([1, 2, 3]), null];
  const after = (...tokens: number[]) => {
    const unlisted = newUnlisted(lists, 2);
    enterUnlisted(unlisted, lists, 0, 0, tokens);
    return unlisted;
  };

  test('are each there once, where they occur first', () => {
    const unlisted = after(1, 7, 2, 7, 9);
    enterUnlisted(unlisted, lists, 0, 5, [9, 3, 8]);
    expect(unlisted[0]![0]).toEqual({ ids: [7, 9, 8], from: [1, 4, 7] });
    expect(unlisted[0]![1]).toEqual({ ids: [], from: [] });
    expect(unlisted[1]).toBeNull();
    expect([0, 1, 4, 6, 7].map((position) => countUntil(unlisted[0]![0]!, position))).toEqual([0, 1, 2, 2, 3]);
  });

  test('follow their row when it is cut, copied or moved', () => {
    const unlisted = after(7, 1, 9, 8);
    copyUnlisted(unlisted, 0, 1, 3);
    truncateUnlisted(unlisted, 0, 1);
    expect(unlisted[0]).toEqual([
      { ids: [7], from: [0] },
      { ids: [7, 9], from: [0, 2] },
    ]);
    enterUnlisted(unlisted, lists, 0, 1, [6]);
    expect(arrangeUnlisted(unlisted, [1, null, 0])[0]).toEqual([
      { ids: [7, 9], from: [0, 2] },
      { ids: [], from: [] },
      { ids: [7, 6], from: [0, 1] },
    ]);
  });

  test('are bounded: the first count', () => {
    const unlisted = after(...Array.from({ length: 2 * mostUnlisted }, (_, i) => 10 + i));
    expect(unlisted[0]![0]!.ids).toEqual(Array.from({ length: mostUnlisted }, (_, i) => 10 + i));
  });

  test('are read by graphs of a few sizes', () => {
    expect([1, 64, 65, 300, mostUnlisted].map(sizeFor)).toEqual([64, 64, 128, 512, 512]);
  });
});

const layer = 1;
const listed: ExitSpec = { layer, architecture: 'lens', head: { kind: 'shortlist', tokens: [2, 5, 11, 23] } };
const shared: ExitSpec = { layer, architecture: 'mlp', head: { kind: 'shared' } };
const open = (family: string, exits: (model: ReturnType<typeof tinyModel>) => ExitSet): Promise<StagedModel> => {
  const model = tinyModel(family);
  return openStagedModel(model, exits(model), { arithmetic: 'float32' });
};
const texts = [
  Array.from({ length: 20 }, (_, i) => (i * 7 + 3) % 29),
  Array.from({ length: 9 }, (_, i) => (i * 5 + 2) % 31),
  // Nothing outside the list.
  [2, 5, 11, 2],
];

async function filled(staged: StagedModel, rows: readonly (readonly number[])[]): Promise<Slots> {
  const slots = staged.openSlots(rows.length);
  for (const [row, ids] of rows.entries()) slots.enter(row, ids);
  const counts = rows.map(({ length }) => length);
  for (const s of staged.stages.keys()) await slots.run(s, counts);
  return slots;
}

/** Of every position of every text, read in one call or a position at a time. */
async function logitsOf(staged: StagedModel, rows: readonly (readonly number[])[]): Promise<Float32Array[]> {
  const slots = await filled(staged, rows);
  const counts = rows.map(({ length }) => length);
  const read = await slots.read(0, [...rows.keys()], counts, { logits: true });
  return read.map(({ logits }) => logits!.slice());
}

describe.each(['llama-untied', 'gemma2', 'cohere', 'phi'])('%s', (family) => {
  test('their logits are those of the whole head, from where they occur on', async () => {
    const own = await open(family, (model) => copiedExits(model, [listed]));
    // The same state by the whole head: a lens whose translator is the identity is its norm.
    const whole = await open(family, (model) =>
      copiedExits(model, [{ layer, architecture: 'norm', head: { kind: 'own' } }]),
    );
    expect(own.exits.map(({ readsUnlisted }) => readsUnlisted)).toEqual([true, false]);
    const { vocabulary } = own.spec;
    const [mine, all] = [await logitsOf(own, texts), await logitsOf(whole, texts)];
    for (const [row, text] of texts.entries())
      for (const p of text.keys()) {
        const before = text.slice(0, p + 1);
        for (let id = 0; id < vocabulary; id++) {
          const logit = mine[row]![p * vocabulary + id]!;
          const isListed = [2, 5, 11, 23].includes(id);
          if (before.includes(id) && !isListed) expect(logit).toBeCloseTo(all[row]![p * vocabulary + id]!, 4);
          else expect(logit > -Infinity).toBe(isListed);
        }
      }
    await own.dispose();
    await whole.dispose();
  });

  test('a position has the same bits whatever is read with it', async () => {
    const staged = await open(family, (model) => copiedExits(model, [listed]));
    const together = await filled(staged, texts);
    const said = await together.read(
      0,
      [0, 1, 2],
      texts.map(() => 2),
      { logits: false },
    );
    for (const [row, text] of texts.entries()) {
      const alone = await filled(staged, [text]);
      for (const back of [0, 1]) {
        alone.truncate(0, text.length - back);
        const [one] = await alone.read(0, [0], [1], { logits: false });
        expect(one!.readouts[0]).toEqual(said[row]!.readouts[1 - back]);
      }
    }
    await staged.dispose();
  });
});

test('an exit may say a token of the text that its list lacks, with its share of the probability', async () => {
  const staged = await open('llama-untied', (model) => copiedExits(model, [listed]));
  const slots = await filled(staged, texts);
  const [read] = await slots.read(0, [0], [1], { logits: true });
  const { vocabulary } = staged.spec;
  const logits = read!.logits!.subarray(0, vocabulary);
  // The untuned class of all other tokens has logit 0.
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 1);
  const { candidates } = read!.readouts[0]!;
  expect(candidates.some(({ id }) => texts[0]!.includes(id) && !listedIds.has(id))).toBe(true);
  for (const { id, probability } of candidates) expect(probability).toBeCloseTo(Math.exp(logits[id]!) / total, 5);
  await staged.dispose();
});
const listedIds = new Set([2, 5, 11, 23]);

test('rows that are no longer those of the model are not mixed with its own', () => {
  const model = tinyModel();
  const values = (kind: 'copy' | 'random') =>
    new Map(
      [...initialiseExit(model.spec, listed, model.parameters, { kind, seed: 1 })].map(([name, data]) => [
        name,
        { shape: [5, model.spec.hidden], data },
      ]),
    );
  expect(keepsRows(model, listed, values('copy'))).toBe(true);
  expect(keepsRows(model, listed, values('random'))).toBe(false);
  expect(keepsRows(model, shared, new Map())).toBe(false);
  expect(keepsRows(model, null, new Map())).toBe(false);
});
