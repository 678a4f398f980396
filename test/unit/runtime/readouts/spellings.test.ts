/** An exit with a shortlist also reads its guess's other spellings, by the model's own rows. */
import { describe, expect, test } from 'vitest';
import type { ExitSpec } from '../../../../backend/exits/spec.ts';
import { openStagedModel } from '../../../../backend/runtime/open.ts';
import type { RowReadout, StagedModel } from '../../../../backend/runtime/staged-model.ts';
import { copiedExits, tinyModel } from '../../../support/models.ts';

const layer = 1;
const list = [2, 5, 11, 23];
const listed: ExitSpec = { layer, architecture: 'lens', head: { kind: 'shortlist', tokens: list } };
/** 5, 6 and 7 spell one word, as do 11, 12 and 13; an id may lie beyond the vocabulary. */
const families = [[5, 6, 7, 9999], [11, 12, 13], [2], [23, 24]];
const spellings = (token: number): readonly number[] =>
  families.find((family) => family.includes(token))?.filter((id) => id !== token) ?? [];
const texts = [
  [5, 2, 11, 23, 6, 5, 2, 2],
  [11, 5, 5, 2],
  [23, 2, 11, 11, 12],
];

const open = (family: string, exit: ExitSpec, isSpelling: boolean): Promise<StagedModel> => {
  const model = tinyModel(family);
  return openStagedModel(model, { ...copiedExits(model, [exit]), ...(isSpelling && { spellings }) });
};

/** Of every position of these texts. */
async function read(staged: StagedModel, rows: readonly (readonly number[])[], logits: boolean): Promise<RowReadout[]> {
  const slots = staged.openSlots(rows.length);
  const counts = rows.map(({ length }) => length);
  for (const [row, ids] of rows.entries()) slots.enter(row, ids);
  for (const s of staged.stages.keys()) await slots.run(s, counts);
  const found = await slots.read(0, [...rows.keys()], counts, { logits });
  const kept = found.map((one) => ({ ...one, logits: one.logits?.slice() ?? null }));
  slots.dispose();
  return kept;
}

describe.each(['llama-untied', 'gemma2', 'cohere', 'phi'])('%s', (family) => {
  test('a guess’s other spellings have the logits of the whole head, and their share of the probability', async () => {
    const plain = await open(family, listed, false);
    const spelling = await open(family, listed, true);
    const whole = await open(family, { layer, architecture: 'norm', head: { kind: 'own' } }, false);
    const [without, mine, all] = [
      await read(plain, texts, true),
      await read(spelling, texts, true),
      await read(whole, texts, true),
    ];
    const { vocabulary } = plain.spec;
    let added = 0;
    for (const [row, text] of texts.entries())
      for (const p of text.keys()) {
        const of = ({ logits }: RowReadout): Float32Array => logits!.subarray(p * vocabulary, (p + 1) * vocabulary);
        const [before, after, exact] = [of(without[row]!), of(mine[row]!), of(all[row]!)];
        const guess = without[row]!.readouts[p]!.token;
        const expected = new Set(guess < 0 ? [] : spellings(guess).filter((id) => id < vocabulary));
        for (let id = 0; id < vocabulary; id++)
          if (expected.has(id) && before[id] === -Infinity) {
            added++;
            expect(after[id]).toBeCloseTo(exact[id]!, 4);
          } else expect(after[id]).toBe(before[id]);
        // The untuned class of all other tokens has logit 0.
        const total = after.reduce((sum, logit) => sum + Math.exp(logit), 1);
        const share = (logit: number): number => Math.exp(logit) / total;
        const { candidates, entropy, confidence, token } = mine[row]!.readouts[p]!;
        for (const one of candidates) expect(one.probability).toBeCloseTo(share(after[one.id]!), 5);
        expect(confidence).toBe(candidates[0]!.probability);
        if (guess >= 0) expect(token).toBe(candidates[0]!.id);
        const read = [...after, 0].filter((logit) => logit > -Infinity);
        const entropyOfAll = -read.reduce((sum, logit) => sum + share(logit) * Math.log(share(logit)), 0);
        expect(entropy).toBeCloseTo(entropyOfAll, 4);
      }
    expect(added).toBeGreaterThan(0);
    for (const each of [plain, spelling, whole]) await each.dispose();
  });

  test('a position has the same bits whatever is read with it', async () => {
    const staged = await open(family, listed, true);
    const together = await read(staged, texts, false);
    for (const [row, text] of texts.entries()) expect((await read(staged, [text], false))[0]).toEqual(together[row]);
    await staged.dispose();
  });
});

test('a better spelling becomes the guess', async () => {
  const plain = await open('llama-untied', listed, false);
  const spelling = await open('llama-untied', listed, true);
  const [without, mine] = [await read(plain, texts, false), await read(spelling, texts, false)];
  const pairs = without.flatMap(({ readouts }, row) =>
    readouts.map(({ token }, p) => [token, mine[row]!.readouts[p]!.token] as const),
  );
  const changed = pairs.filter(([before, after]) => before !== after);
  expect(changed.length).toBeGreaterThan(0);
  for (const [before, after] of changed) expect(spellings(before)).toContain(after);
  await plain.dispose();
  await spelling.dispose();
});
