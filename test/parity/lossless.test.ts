/** Drafted and verified text against plain decoding: the same tokens, and the same cache behind them. */
import { describe, expect, test } from 'vitest';
import { openKvCache } from '../../backend/decoding/cache/kv-cache.ts';
import { seededRandom } from '../../backend/decoding/sampling/random.ts';
import { greedy } from '../../backend/decoding/sampling/sampler.ts';
import type { ExitSpec } from '../../backend/exits/spec.ts';
import { openStagedModel } from '../../backend/runtime/open.ts';
import type { StagedModel } from '../../backend/runtime/staged-model.ts';
import type { TokenRecord } from '../../protocol/trace.ts';
import { confidenceAt, decodeAll, eagerSession, idsOf, plainRequest } from '../support/decoding.ts';
import { maxDifference } from '../support/golden.ts';
import { copiedExits, tinyModel } from '../support/models.ts';
import { openTiny } from '../support/staged.ts';

const shared = { kind: 'shared' } as const;
const specs: ExitSpec[] = [
  { layer: 2, architecture: 'norm', head: shared },
  { layer: 3, architecture: 'mlp', head: shared },
  { layer: 4, architecture: 'norm', head: shared },
];
const { staged, plain } = await openTiny((model) => copiedExits(model, specs));

const random = seededRandom(8);
const newPrompt = (): number[] => {
  const part = Array.from({ length: 3 + Math.floor(random() * 6) }, () => Math.floor(random() * 256));
  return [...part, ...part, part[0]!, part[1]!];
};
const drafts = { lookup: true, exits: () => true, limit: 6 };
const lossless = { drafts, enabled: () => false };

describe.each([
  ['the text’s drafts', { lookup: true, exits: () => false, limit: 6 }],
  ['a middle exit’s drafts', { lookup: false, exits: (id: string) => id === '2:norm', limit: 4 }],
  ['the drafts of an exit that is always right', { lookup: false, exits: (id: string) => id === '4:norm', limit: 5 }],
])('%s', (_, drafts) => {
  test('leave greedy text as it is', async () => {
    let accepted = 0;
    let rejected = 0;
    for (let n = 0; n < 12; n++) {
      const prompt = newPrompt();
      const full = await decodeAll(plain, plainRequest([prompt], 40));
      const drafted = await decodeAll(
        eagerSession(staged),
        plainRequest([prompt], 40, { enabled: () => false, drafts }),
      );
      expect(idsOf(drafted.tokens[0]!)).toEqual(idsOf(full.tokens[0]!));
      for (const { draft } of drafted.tokens[0]!) {
        if (draft?.accepted) accepted++;
        else if (draft) rejected++;
      }
    }
    expect(accepted).toBeGreaterThan(0);
    if (!drafts.exits('4:norm')) expect(rejected).toBeGreaterThan(0);
  });

  test('leave sampled text as it is, draw for draw', async () => {
    const sampling = { ...greedy, temperature: 0.7, topP: 0.95, repetitionPenalty: 1.1 };
    for (let seed = 0; seed < 6; seed++) {
      const request = plainRequest([newPrompt()], 40, { sampling, seed });
      const full = await decodeAll(plain, request);
      const drafted = await decodeAll(eagerSession(staged), { ...request, enabled: () => false, drafts });
      expect(idsOf(drafted.tokens[0]!)).toEqual(idsOf(full.tokens[0]!));
    }
  });
});

test('drafts leave the text of a mixture of experts as it is', async () => {
  const mixture = tinyModel('qwen3_moe');
  const specs: ExitSpec[] = [
    { layer: 1, architecture: 'mlp', head: shared },
    { layer: 2, architecture: 'layer', head: shared },
  ];
  const cut = await openStagedModel(mixture, copiedExits(mixture, specs));
  const whole = await openStagedModel(mixture);
  let accepted = 0;
  for (const exit of ['1:mlp', '2:layer']) {
    const drafts = { lookup: true, exits: (id: string) => id === exit, limit: 5 };
    for (let n = 0; n < 6; n++) {
      const prompt = newPrompt().map((id) => id % mixture.spec.vocabulary);
      const full = await decodeAll(whole, plainRequest([prompt], 40));
      const drafted = await decodeAll(eagerSession(cut), plainRequest([prompt], 40, { enabled: () => false, drafts }));
      expect(idsOf(drafted.tokens[0]!)).toEqual(idsOf(full.tokens[0]!));
      accepted += drafted.tokens[0]!.filter(({ draft }) => draft?.accepted).length;
    }
  }
  expect(accepted).toBeGreaterThan(0);
  await cut.dispose();
  await whole.dispose();
  mixture.close();
});

test('sampled text has the full model’s distribution (chi-square, 30 degrees of freedom)', async () => {
  const sampling = { ...greedy, temperature: 0.8, topK: 6 };
  const prompt = newPrompt();
  const counts = new Map<number, Map<number, number>>();
  const drafted = { accepted: 0, rejected: 0 };
  // One session, which remembers the prompt.
  const session = eagerSession(staged);
  for (let seed = 0; seed < 1200; seed++) {
    // The last token of a text is never drafted.
    const request = plainRequest([prompt], 3, { ...lossless, sampling, seed });
    const [first, second] = (await decodeAll(session, request)).tokens[0]!;
    const after = counts.get(first!.id) ?? new Map<number, number>();
    counts.set(first!.id, after.set(second!.id, (after.get(second!.id) ?? 0) + 1));
    if (second!.draft) drafted[second!.draft.accepted ? 'accepted' : 'rejected']++;
  }
  session.dispose();
  expect(drafted.accepted).toBeGreaterThan(0);
  expect(drafted.rejected).toBeGreaterThan(0);
  expect(counts.size).toBe(sampling.topK);
  let statistic = 0;
  for (const [first, after] of counts) {
    const expected = await probabilitiesAfter([...prompt, first], sampling);
    const total = [...after.values()].reduce((a, b) => a + b);
    for (const id of after.keys()) expect(expected.has(id)).toBe(true);
    for (const [id, p] of expected) statistic += ((after.get(id) ?? 0) - total * p) ** 2 / (total * p);
  }
  // 59.7 is exceeded by chance once in a thousand; the seeds are fixed.
  expect(statistic).toBeLessThan(59.7);
});

/** The full model's probabilities of the `topK` most probable tokens after a text. */
async function probabilitiesAfter(
  ids: readonly number[],
  { temperature, topK }: { temperature: number; topK: number },
): Promise<Map<number, number>> {
  const cache = openKvCache(plain, 1);
  cache.enter(0, ids);
  await cache.advance(plain.stages.length, [0]);
  const [choicesOf] = await cache.read(plain.exits.length - 1, [0], [1], { logits: true });
  const logits = choicesOf!.logits!;
  const top = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]!).slice(0, topK);
  const weights = top.map((id) => Math.exp((logits[id]! - logits[top[0]!]!) / temperature));
  const sum = weights.reduce((a, b) => a + b);
  return new Map(top.map((id, i) => [id, weights[i]! / sum]));
}

test.each([1, 3])('fast decoding of %i sequences says the same with and without drafts', async (rows) => {
  const left = new Set<string>();
  for (const sampling of [greedy, { ...greedy, temperature: 0.8, topK: 40 }]) {
    for (const threshold of [0.04, 0.06, 0.1]) {
      const request = plainRequest(Array.from({ length: rows }, newPrompt), 30, {
        policy: confidenceAt(threshold),
        sampling,
      });
      const without = await decodeAll(staged, request);
      const drafted = await decodeAll(eagerSession(staged), { ...request, drafts: { ...drafts, exits: () => false } });
      const choicesOf = (tokens: readonly TokenRecord[][]) =>
        tokens.map((row) => row.map(({ id, exit }) => `${id}@${exit}`));
      expect(choicesOf(drafted.tokens)).toEqual(choicesOf(without.tokens));
      for (const { exit } of drafted.tokens.flat()) left.add(exit);
    }
  }
  expect(left.size).toBeGreaterThan(2);
});

test.each([1, 4, 16])('a batch of %i with drafts says what each would say alone', async (rows) => {
  const prompts = Array.from({ length: rows }, newPrompt);
  const drafted = await decodeAll(eagerSession(staged), plainRequest(prompts, 30, lossless));
  for (const [row, prompt] of prompts.entries()) {
    const full = await decodeAll(plain, plainRequest([prompt], 30));
    expect(idsOf(drafted.tokens[row]!)).toEqual(idsOf(full.tokens[0]!));
  }
});

test('ends in the middle of a block: end of text, stop string and length', async () => {
  for (let n = 0; n < 10; n++) {
    const prompt = newPrompt();
    const full = await decodeAll(plain, plainRequest([prompt], 25));
    const ids = idsOf(full.tokens[0]!);
    for (const different of [{ endOfText: [ids[12]!] }, { stopStrings: [`${ids[8]}><${ids[9]}`] }, { maxTokens: 17 }]) {
      const expected = await decodeAll(plain, plainRequest([prompt], 25, different));
      const drafted = await decodeAll(eagerSession(staged), plainRequest([prompt], 25, { ...lossless, ...different }));
      expect(drafted.tokens[0]!.map(({ text }) => text)).toEqual(expected.tokens[0]!.map(({ text }) => text));
      expect(drafted.stops).toEqual(expected.stops);
    }
  }
});

test.each([0, 3, 5])('a cache of which %i of 5 drafts were accepted is the plain one', async (accepted) => {
  const prompt = newPrompt();
  const next = Array.from({ length: 12 }, () => Math.floor(random() * 256));
  const wrong = next.slice(0, 5).map((id, i) => (i < accepted ? id : (id + 1) % 256));
  const fill = async (of: StagedModel, blocks: number[][], takeBack: number) => {
    const cache = openKvCache(of, 1);
    for (const [i, block] of blocks.entries()) {
      cache.enter(0, block);
      await cache.advance(of.stages.length, [0]);
      if (i === 1) cache.truncate(0, cache.position(0) - takeBack);
    }
    return cache;
  };
  const drafted = await fill(staged, [prompt, wrong, next.slice(accepted)], 5 - accepted);
  const all = await fill(plain, [[...prompt, ...next]], 0);
  for (const slot of plain.stages.flatMap(({ slots }) => slots)) {
    expect(maxDifference(all.pastRows(slot, 0).key, drafted.pastRows(slot, 0).key)).toBeLessThan(1e-5);
    expect(maxDifference(all.pastRows(slot, 0).value, drafted.pastRows(slot, 0).value)).toBeLessThan(1e-5);
  }
});
