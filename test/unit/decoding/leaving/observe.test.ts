/** What exits predict while the full model writes is what they predict in decoding, token by token. */
import { afterAll, expect, test } from 'vitest';
import { observeExits, type Position } from '../../../../backend/decoding/leaving/observe.ts';
import { openKvCache } from '../../../../backend/decoding/cache/kv-cache.ts';
import type { ExitSpec } from '../../../../backend/exits/spec.ts';
import { openStagedModel } from '../../../../backend/runtime/open.ts';
import { decodeAll, idsOf, plainRequest } from '../../../support/decoding.ts';
import { copiedExits, tinyModel } from '../../../support/models.ts';

const specs: ExitSpec[] = [
  { layer: 1, architecture: 'layer', head: { kind: 'own' } },
  { layer: 2, architecture: 'mlp', head: { kind: 'own' } },
  { layer: 3, architecture: 'lens', head: { kind: 'shared' } },
];
const model = tinyModel();
const staged = await openStagedModel(model, copiedExits(model, specs));
afterAll(async () => {
  await staged.dispose();
  model.close();
});

const prompts = [
  [7, 99, 23, 4],
  [101, 5],
  [9, 9, 9, 31, 200, 17],
];

async function observed(newTokens: number, endOfText: readonly number[]): Promise<Position[][]> {
  const observing = observeExits(staged, prompts, newTokens, endOfText);
  for (;;) {
    const next = await observing.next();
    if (next.done) return next.value;
  }
}

test('each exit predicts what it predicts in decoding, for the text of full depth', async () => {
  const { tokens } = await decodeAll(staged, plainRequest(prompts, 12, { candidates: 1 }));
  const texts = await observed(12, []);
  expect(texts.map((text) => text.map(({ token }) => token))).toEqual(tokens.map(idsOf));
  for (const [row, text] of texts.entries()) {
    for (const [i, { observations }] of text.entries()) {
      const opinions = tokens[row]![i]!.opinions!.slice(0, -1);
      expect(observations.map(({ token }) => token)).toEqual(opinions.map(({ token }) => token!.id));
      observations.forEach(({ confidence }, k) => expect(confidence).toBeCloseTo(opinions[k]!.confidence, 5));
    }
  }
});

test('a text ends at its end, the token that ends it among its positions; the others go on', async () => {
  const whole = await observed(12, []);
  const end = whole[1]![4]!.token;
  const first = whole.map((text) => text.findIndex(({ token }) => token === end));
  const texts = await observed(12, [end]);
  expect(texts.map((text) => text.length)).toEqual(first.map((at) => (at === -1 ? 12 : at + 1)));
  texts.forEach((text, row) =>
    expect(text.map(({ token }) => token)).toEqual(whole[row]!.slice(0, text.length).map(({ token }) => token)),
  );
});

test('states are those of the exits’ cuts', async () => {
  const [text] = (await observed(1, [])) as [Position[]];
  const cache = openKvCache(staged, 1);
  cache.enter(0, prompts[0]!);
  for (const [k, exit] of staged.exits.slice(0, -1).entries()) {
    await cache.advance(exit.stages, [0]);
    expect([...text[0]!.observations[k]!.state].map((x) => x.toFixed(4))).toEqual(
      [...cache.state(k, 0, cache.position(0) - 1)].map((x) => x.toFixed(4)),
    );
  }
  cache.dispose();
});
