/** Texts that begin with what was taken off their prompts, with the model that ships: in every mode, alone and in a batch. */
import { afterAll, describe, expect, test } from 'vitest';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openBatch } from '../../../backend/decoding/batch.ts';
import type { DecodeRequest } from '../../../backend/decoding/decode.ts';
import { newPace } from '../../../backend/decoding/drafts/pace.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { openModel } from '../../../backend/model/open.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import { confidenceAt, decodeAll, eagerSession, plainRequest, type Decoded } from '../../support/decoding.ts';
import { shippedModel } from '../../support/golden.ts';
import { copiedExits } from '../../support/models.ts';

const specs: ExitSpec[] = [
  { layer: 4, architecture: 'norm', head: { kind: 'shared' } },
  { layer: 8, architecture: 'norm', head: { kind: 'shared' } },
];
const model = openModel(shippedModel);
const staged = await openStagedModel(model, copiedExits(model, specs));
const tokenizer = loadTokenizer(shippedModel);
afterAll(async () => {
  await staged.dispose();
  model.close();
});

const prompts = [
  'class Statistics {\n  mean() {\n    ',
  'function sum(values: number[]) {\n  let total = 0;\n  for (const value of values) {\n    ',
  'export interface Options {\n  name: string;\n  ',
  'if (a) {\n  run();\n} else {\n  ',
  'switch (kind) {\n  case 1:\n    return one;\n  ',
  'const items = [\n  1,\n  ',
  'describe("x", () => {\n  it("y", () => {\n    ',
  'try {\n  open();\n} catch (error) {\n  ',
];
const words = ['export function par', 'const total = val', 'import { readFi', 'return this.len'];

const healing = (texts: readonly string[], maxTokens: number, more: Partial<DecodeRequest> = {}): DecodeRequest => {
  const healed = texts.map((text) => tokenizer.heal(tokenizer.encode(text)));
  return {
    ...plainRequest(
      healed.map(({ ids }) => ids),
      maxTokens,
      { codec: tokenizer, enabled: () => false, ...more },
    ),
    beginnings: healed.map(({ begun }) => begun),
  };
};
const textsOf = ({ tokens }: Decoded): string[] => tokens.map((row) => row.map(({ text }) => text).join(''));
test('an indent that was typed is gone on from at its own column, or a whole step deeper or less deep', async () => {
  const firstLine = (prompt: string, text: string): string =>
    (prompt + text).split('\n').slice(prompt.split('\n').length - 1)[0]!;
  const isOdd = (prompt: string, text: string): boolean => /^ */.exec(firstLine(prompt, text))![0].length % 2 === 1;
  const odd = (texts: string[]): number => prompts.filter((prompt, i) => isOdd(prompt, texts[i]!)).length;
  const plain = plainRequest(
    prompts.map((prompt) => tokenizer.encode(prompt)),
    8,
    { codec: tokenizer, enabled: () => false },
  );
  expect(odd(textsOf(await decodeAll(staged, plain)))).toBeGreaterThanOrEqual(6);
  expect(odd(textsOf(await decodeAll(staged, healing(prompts, 8))))).toBe(0);
});

describe.each([
  ['full depth', {}],
  ['exits that are hardly sure', { enabled: () => true, policy: confidenceAt(0.1) }],
  ['exits that say anything', { enabled: () => true, policy: confidenceAt(0) }],
  ['samples', { sampling: { temperature: 1, topK: 0, topP: 0.9, minP: 0, repetitionPenalty: 1.2 } }],
])('with %s', (_, more: Partial<DecodeRequest>) => {
  test('what was taken off is said again, is not told again, and no token of the limit goes to it', async () => {
    const all = [...prompts, ...words];
    const texts = await decodeAll(staged, healing(all, 6, more));
    for (const [row, prompt] of all.entries()) {
      const { begun } = tokenizer.heal(tokenizer.encode(prompt));
      const tokens = texts.tokens[row]!;
      expect(tokens.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5]);
      const [first] = tokens;
      const whole = tokenizer.tokenText(first!.id);
      expect(whole.endsWith(first!.text)).toBe(true);
      expect(
        Buffer.from(begun!.bytes)
          .toString()
          .endsWith(whole.slice(0, whole.length - first!.text.length)),
      ).toBe(true);
    }
  });
});

test('drafts change nothing of it', async () => {
  const drafts = { lookup: true, exits: () => true, limit: 6 };
  const eager = eagerSession(staged);
  for (const prompt of [...prompts, ...words]) {
    const full = await decodeAll(staged, healing([prompt], 24));
    const drafted = await decodeAll(eager, healing([prompt], 24, { drafts }));
    const alone = ({ tokens }: Decoded) => tokens[0]!.map(({ id, text, confidence }) => ({ id, text, confidence }));
    expect(alone(drafted)).toEqual(alone(full));
  }
  eager.dispose();
});

test('in a batch it is what it is alone, and a caller that continues from its tokens gets all of them', async () => {
  const request = healing([words[1]!], 5);
  const alone = await decodeAll(staged, request);
  const batch = openBatch(staged, { rows: 2 }, newPace(staged));
  const { prompts: ids, beginnings, ...how } = request;
  const text = { ...how, prompt: ids[0]!, begun: beginnings![0]!, number: 0, scores: null, recordsBegun: true };
  batch.join(text);
  const tokens = [];
  while (batch.running + batch.waiting > 0)
    for (const event of await batch.step()) if (event.type === 'tokens') tokens.push(...event.tokens);
  batch.dispose();
  expect(tokens.map(({ text: each }) => each).join('')).toBe(textsOf(alone)[0]);
  const whole = tokenizer.decode(tokens.map(({ id }) => id));
  expect(whole).toBe(Buffer.from(beginnings![0]!.bytes).toString() + textsOf(alone)[0]!);
});
