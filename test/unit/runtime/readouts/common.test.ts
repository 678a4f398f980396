/** An exit with a shortlist also reads the common tokens that its list lacks, by the model's own rows. */
import { describe, expect, test } from 'vitest';
import { exitPath, type ExitSpec } from '../../../../backend/exits/spec.ts';
import { openStagedModel } from '../../../../backend/runtime/open.ts';
import { commonBeside, commonIds } from '../../../../backend/runtime/readouts/common.ts';
import type { RowReadout, StagedModel } from '../../../../backend/runtime/staged-model.ts';
import { copiedExits, tinyModel } from '../../../support/models.ts';

const layer = 1;
const tokens = [2, 5, 11, 23];
const listed: ExitSpec = { layer, architecture: 'lens', head: { kind: 'shortlist', tokens } };
const text = [5, 2, 11, 23, 6, 5, 2, 9];

const open = (family: string, exit: ExitSpec, readsCommon: boolean): Promise<StagedModel> => {
  const model = tinyModel(family);
  return openStagedModel(model, { ...copiedExits(model, [exit]), readsCommon });
};

/** Of every position of the text. */
async function read(staged: StagedModel, logits: boolean): Promise<RowReadout> {
  const slots = staged.openSlots(1);
  slots.enter(0, text);
  for (const s of staged.stages.keys()) await slots.run(s, [text.length]);
  const [found] = await slots.read(0, [0], [text.length], { logits });
  const kept = { ...found!, logits: found!.logits?.slice() ?? null };
  slots.dispose();
  return kept;
}

test('they are the tokens with low ids that a list lacks', () => {
  expect(commonBeside([2, 0, 40_000], 5, 1)).toEqual({ tokens: [1, 3, 4], path: 'common.1.head' });
  expect(commonBeside([2], 150_000, 0)!.tokens).toHaveLength(commonIds - 1);
  expect(commonBeside([0, 1, 2], 3, 0)).toBeNull();
});

describe.each(['llama-untied', 'gemma2', 'cohere', 'phi'])('%s', (family) => {
  test('they have the logits of the whole head, and their share of the probability', async () => {
    const common = await open(family, listed, true);
    const whole = await open(family, { layer, architecture: 'norm', head: { kind: 'own' } }, false);
    const [mine, exact] = [(await read(common, true)).logits!, (await read(whole, true)).logits!];
    expect(mine).toHaveLength(exact.length);
    const { vocabulary } = common.spec;
    for (const [i, logit] of mine.entries())
      if (!tokens.includes(i % vocabulary)) expect(logit).toBeCloseTo(exact[i]!, 4);
    for (const [p, { candidates, confidence }] of (await read(common, false)).readouts.entries()) {
      const logits = mine.subarray(p * vocabulary, (p + 1) * vocabulary);
      // The untuned class of all other tokens has logit 0.
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 1);
      expect(confidence).toBeCloseTo(Math.exp(Math.max(...logits)) / total, 4);
      for (const { id, probability } of candidates) expect(probability).toBeCloseTo(Math.exp(logits[id]!) / total, 4);
    }
    await common.dispose();
    await whole.dispose();
  });
});

test.each(['float32', 'int8'] as const)(
  'a position has the same bits whatever is read with it: %s',
  async (arithmetic) => {
    const model = tinyModel('llama-untied');
    const staged = await openStagedModel(model, { ...copiedExits(model, [listed]), readsCommon: true }, { arithmetic });
    const together = (await read(staged, false)).readouts;
    const slots = staged.openSlots(1);
    slots.enter(0, text);
    for (const s of staged.stages.keys()) await slots.run(s, [text.length]);
    for (let length = text.length; length > 0; length--) {
      slots.truncate(0, length);
      const [alone] = await slots.read(0, [0], [1], { logits: false });
      expect(alone!.readouts[0]).toEqual(together[length - 1]);
    }
    slots.dispose();
    await staged.dispose();
  },
);

test('exits with one list share their rows, and exits whose rows are not the model’s read none', async () => {
  const model = tinyModel('llama-untied');
  const second: ExitSpec = { ...listed, layer: 2 };
  const exits = copiedExits(model, [listed, second]);
  const noise = exits.parameters.get(`${exitPath(second)}.head.weight`)!;
  const parameters = new Map(exits.parameters);
  parameters.set(`${exitPath(second)}.head.weight`, { ...noise, data: noise.data.map((_, i) => Math.sin(37 * i)) });
  for (const [given, expected] of [
    [exits.parameters, [true, true]],
    [parameters, [true, false]],
  ] as const) {
    const staged = await openStagedModel(model, { ...exits, parameters: given, readsCommon: true });
    const slots = staged.openSlots(1);
    slots.enter(0, text);
    for (const s of staged.stages.keys()) await slots.run(s, [text.length]);
    const reads = async (k: number): Promise<boolean> => {
      const [found] = await slots.read(k, [0], [1], { logits: true });
      return found!.logits!.every((logit) => logit > -Infinity);
    };
    expect([await reads(0), await reads(1)]).toEqual(expected);
    slots.dispose();
    await staged.dispose();
  }
});
