/** Texts that join and leave a batch, against each alone. */
import { afterAll, describe, expect, test } from 'vitest';
import { openBatch, type Batch, type BatchRequest } from '../../../backend/decoding/batch.ts';
import { textDrafts } from '../../../backend/decoding/drafts/draft.ts';
import type { PromptScore } from '../../../backend/decoding/prompts/prompt-scores.ts';
import { seededRandom } from '../../../backend/decoding/sampling/random.ts';
import { greedy, logProbabilities } from '../../../backend/decoding/sampling/sampler.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import type { TokenRecord } from '../../../protocol/trace.ts';
import { confidenceAt, decodeAll, eagerPace, finalLogits, idsOf, plainRequest } from '../../support/decoding.ts';
import { copiedExits, tinyModel } from '../../support/models.ts';

const specs: ExitSpec[] = [
  { layer: 1, architecture: 'layer', head: { kind: 'own' } },
  { layer: 2, architecture: 'mlp', head: { kind: 'own' } },
  { layer: 3, architecture: 'norm', head: { kind: 'shared' } },
];
const model = tinyModel();

interface Ended {
  readonly tokens: TokenRecord[];
  reason: string | null;
  remembered: number;
  scores: readonly PromptScore[];
}

const newRequest = (
  prompt: readonly number[],
  maxTokens: number,
  different: Partial<BatchRequest> = {},
): BatchRequest => {
  const { prompts, ...options } = plainRequest([prompt], maxTokens);
  return { ...options, prompt: prompts[0]!, number: 0, scores: null, ...different };
};

/** Steps until nothing is left; calls `between` before each. */
async function run(
  batch: Batch<BatchRequest>,
  between: (ended: ReadonlyMap<BatchRequest, Ended>) => boolean = () => false,
): Promise<Map<BatchRequest, Ended>> {
  const ended = new Map<BatchRequest, Ended>();
  const of = (request: BatchRequest): Ended => {
    const known = ended.get(request) ?? { tokens: [], reason: null, remembered: 0, scores: [] };
    ended.set(request, known);
    return known;
  };
  while (between(ended) || batch.running + batch.waiting > 0) {
    for (const event of await batch.step()) {
      const known = of(event.request);
      if (known.reason !== null) throw new Error('told of a text after its end');
      if (event.type === 'prompt') [known.remembered, known.scores] = [event.remembered, event.scores];
      if (event.type === 'tokens') known.tokens.push(...event.tokens);
      if (event.type === 'stop') known.reason = event.reason;
    }
  }
  return ended;
}

describe('a batch', async () => {
  const staged = await openStagedModel(model, copiedExits(model, specs));
  afterAll(() => staged.dispose());
  const open = (rows: number): Batch<BatchRequest> => openBatch(staged, { rows }, eagerPace(staged));

  test('texts that come and go are each what they are alone', async () => {
    const random = seededRandom(5);
    const pick = (below: number): number => Math.floor(random() * below);
    const idsOfLength = (length: number): number[] => Array.from({ length }, () => pick(250));
    const beginnings = [idsOfLength(3), idsOfLength(25), idsOfLength(60)];
    const kinds: Partial<BatchRequest>[] = [
      { enabled: () => false },
      { enabled: () => true, policy: confidenceAt(0.02) },
      { enabled: (exit) => exit === '2:mlp', policy: confidenceAt(0.005) },
      { enabled: () => false, drafts: textDrafts(4) },
      { sampling: { ...greedy, temperature: 1 }, drafts: textDrafts(3), enabled: () => false },
      { sampling: { ...greedy, temperature: 0.7, repetitionPenalty: 1.3 }, candidates: 2 },
      { endOfText: Array.from({ length: 30 }, (_, i) => i * 8) },
      { stopStrings: ['<1', '<22'] },
    ];
    const requests = Array.from({ length: 40 }, (_, i) =>
      newRequest([...beginnings[pick(3)]!, ...idsOfLength(1 + pick(6))], 1 + pick(20), {
        ...kinds[i % kinds.length],
        number: pick(3),
        seed: i,
      }),
    );
    const batch = open(5);
    const joining = [...requests];
    const left = new Set<BatchRequest>();
    const results = await run(batch, (ended) => {
      for (let n = pick(3); n > 0 && joining.length > 0; n--) batch.join(joining.shift()!);
      // Some clients hang up: those that write, that are read, and that wait.
      const gone = pick(6) === 0 ? requests[pick(requests.length - joining.length)] : undefined;
      if (gone && !joining.includes(gone) && (ended.get(gone)?.reason ?? null) === null) {
        left.add(gone);
        batch.leave(gone);
      }
      return joining.length > 0;
    });
    batch.dispose();
    for (const request of requests) {
      const { prompt, number, ...options } = request;
      const alone = await decodeAll(staged, { ...options, prompts: [prompt], seed: options.seed + number });
      const text = results.get(request);
      if (left.has(request)) {
        expect(text?.reason ?? null).toBeNull();
        expect(idsOf(alone.tokens[0]!)).toEqual(expect.arrayContaining(idsOf(text?.tokens ?? [])));
        continue;
      }
      expect(idsOf(text!.tokens)).toEqual(idsOf(alone.tokens[0]!));
      expect(text!.tokens.map(({ exit, text: own }) => [exit, own])).toEqual(
        alone.tokens[0]!.map(({ exit, text: own }) => [exit, own]),
      );
      expect(text!.reason).toBe(alone.stops[0]);
    }
    expect(left.size).toBeGreaterThan(2);
    expect(left.size).toBeLessThan(15);
  });

  test('a beginning is shared within its scope alone', async () => {
    const batch = open(2);
    const prompt = Array.from({ length: 40 }, (_, i) => i);
    const of = (scope: string): BatchRequest => newRequest(prompt, 3, { scope });
    const many = Array.from({ length: 12 }, () => of('a'));
    const others = [of('b'), of('b'), of('a')];
    for (const request of [many[0]!, others[0]!, others[2]!, ...many.slice(1), others[1]!]) batch.join(request);
    const results = await run(batch);
    batch.dispose();
    const remembered = (request: BatchRequest): number => results.get(request)!.remembered;
    // The first of each scope reads all of it; the next ones in it read only the end.
    expect([many[0]!, others[0]!].map(remembered)).toEqual([0, 0]);
    expect(remembered(others[2]!)).toBeGreaterThan(30);
    expect(
      many
        .slice(1)
        .map(remembered)
        .every((tokens) => tokens > 30),
    ).toBe(true);
    const texts = new Set([...results.values()].map(({ tokens }) => idsOf(tokens).join()));
    expect(texts.size).toBe(1);
  });

  test('long prompts that are read in pieces between the tokens of others say the same to the bit', async () => {
    const random = seededRandom(9);
    const prompts = [230, 64, 120].map((length) => Array.from({ length }, () => Math.floor(random() * 250)));
    const batch = open(3);
    const requests = prompts.map((prompt) => newRequest(prompt, 10));
    batch.join(newRequest([1, 2, 3], 40));
    await batch.step();
    for (const request of requests) batch.join(request);
    const results = await run(batch);
    for (const request of requests) {
      const alone = await decodeAll(staged, plainRequest([request.prompt], 10));
      const bits = (tokens: readonly TokenRecord[]) => tokens.map(({ id, confidence }) => [id, confidence]);
      expect(bits(results.get(request)!.tokens)).toEqual(bits(alone.tokens[0]!));
    }
    batch.dispose();
  });

  test('a short prompt does not wait for a long one, nor a long one for many short ones', async () => {
    const [pieceTokens, length] = [16, 120];
    const batch = openBatch(staged, { rows: 8, pieceTokens }, eagerPace(staged));
    const long = newRequest(
      Array.from({ length }, (_, i) => i % 50),
      3,
    );
    const shorts = Array.from({ length: 40 }, (_, i) => newRequest([60 + i, ...Array<number>(9).fill(3)], 1));
    batch.join(long);
    const read: BatchRequest[] = [];
    let steps = 0;
    for (const coming = [...shorts]; !read.includes(long); steps++) {
      if (steps > 0) for (const request of coming.splice(0, 2)) batch.join(request);
      for (const { type, request } of await batch.step()) if (type === 'prompt') read.push(request);
    }
    expect(read.indexOf(long)).toBeGreaterThan(3);
    expect(steps).toBeLessThanOrEqual(2 * Math.ceil(length / pieceTokens) + 1);
    await run(batch);
    batch.dispose();
  });

  test('prompts that share what a long one has read so far are each what they are alone', async () => {
    const batch = openBatch(staged, { rows: 4, pieceTokens: 16 }, eagerPace(staged));
    const long = newRequest(
      Array.from({ length: 120 }, (_, i) => i % 70),
      3,
    );
    const short = newRequest([...long.prompt.slice(0, 40), 80, 81], 5);
    batch.join(long);
    await batch.step();
    await batch.step();
    batch.join(short);
    const results = await run(batch);
    batch.dispose();
    for (const request of [long, short]) {
      const { prompt, number, ...options } = request;
      const alone = await decodeAll(staged, { ...options, prompts: [prompt], seed: options.seed + number });
      expect(idsOf(results.get(request)!.tokens)).toEqual(idsOf(alone.tokens[0]!));
    }
    expect(results.get(short)!.remembered).toBeGreaterThanOrEqual(16);
    expect(results.get(short)!.remembered).toBeLessThan(40);
  });

  test('scores of many prompts do not make a conversation forgotten', async () => {
    const batch = open(3);
    const chat = newRequest(
      Array.from({ length: 40 }, (_, i) => i),
      2,
    );
    batch.join(chat);
    await run(batch);
    for (let i = 0; i < 6; i++) batch.join(newRequest([100 + i, 1, 2, 3], 0, { scores: 1 }));
    await run(batch);
    const next = newRequest([...chat.prompt, 90, 91], 2);
    batch.join(next);
    expect((await run(batch)).get(next)!.remembered).toBeGreaterThanOrEqual(40);
    batch.dispose();
  });

  test('what one conversation had in common with another is not read again', async () => {
    const batch = open(3);
    const first = Array.from({ length: 40 }, (_, i) => i + 1);
    const second = Array.from({ length: 40 }, (_, i) => 200 - i);
    const write = async (prompt: readonly number[]): Promise<Ended & { ids: number[] }> => {
      const request = newRequest(prompt, 4);
      batch.join(request);
      const ended = (await run(batch)).get(request)!;
      return { ...ended, ids: idsOf(ended.tokens) };
    };
    const answer = await write(first);
    expect(answer.remembered).toBe(0);
    await write(second);
    // Each continues in its own row, though the other came between; its last token was never read.
    const turn = [...first, ...answer.ids, 77, 78];
    expect((await write(turn)).remembered).toBe(43);
    expect((await write([...second, 5])).remembered).toBe(40);
    // A new conversation with the same beginning takes a copy: the old one is still there.
    expect((await write([...first.slice(0, 20), 9, 9, 9])).remembered).toBe(20);
    expect((await write([...turn, 3])).remembered).toBe(46);
    batch.dispose();
  });

  test('several at a time share the beginning that the first of them has read', async () => {
    const batch = open(4);
    const prompt = Array.from({ length: 50 }, (_, i) => 3 * i);
    const requests = [0, 1, 2].map((number) =>
      newRequest(prompt, 6, { number, sampling: { ...greedy, temperature: 1 } }),
    );
    for (const request of requests) batch.join(request);
    const results = await run(batch);
    expect(requests.map((request) => results.get(request)!.remembered)).toEqual([0, 50, 50]);
    batch.dispose();
  });

  test('a prompt that is the beginning of one that was read', async () => {
    const batch = open(2);
    const write = async (prompt: readonly number[]): Promise<Ended & { ids: number[] }> => {
      const request = newRequest(prompt, 6);
      batch.join(request);
      const ended = (await run(batch)).get(request)!;
      return { ...ended, ids: idsOf(ended.tokens) };
    };
    const long = Array.from({ length: 60 }, (_, i) => (7 * i) % 250);
    const answer = await write(long);
    // Of a long pass only the last token is computed to the end: what the beginning ends with may have to be read again.
    for (const length of [45, 1]) {
      const { ids, remembered } = await write(long.slice(0, length));
      expect(remembered).toBeGreaterThanOrEqual(length - 1);
      const {
        tokens: [alone],
      } = await decodeAll(staged, plainRequest([long.slice(0, length)], 6));
      expect(ids).toEqual(idsOf(alone!));
    }
    expect((await write([...long, ...answer.ids.slice(0, 2)])).ids.slice(0, 4)).toEqual(answer.ids.slice(2));
    batch.dispose();
  });

  test('of a prompt that is given up while it is read, what was read is remembered', async () => {
    const batch = openBatch(staged, { rows: 1, pieceTokens: 16 }, eagerPace(staged));
    const prompt = Array.from({ length: 200 }, (_, i) => (7 * i) % 250);
    const given = newRequest(prompt, 4);
    batch.join(given);
    await batch.step();
    batch.leave(given);
    const again = newRequest(prompt, 4);
    batch.join(again);
    await batch.step();
    expect(batch.running).toBe(1);
    const ended = (await run(batch)).get(again)!;
    expect(ended.remembered).toBe(16);
    const {
      tokens: [alone],
    } = await decodeAll(staged, plainRequest([prompt], 4));
    expect(idsOf(ended.tokens)).toEqual(idsOf(alone!));
    batch.dispose();
  });

  test('a prompt is scored by the final exit, with the most probable in each place', async () => {
    const prompt = Array.from({ length: 150 }, (_, i) => (37 * i) % 250);
    const { vocabulary } = model.spec;
    const logits = await finalLogits(staged, prompt);
    const batch = open(2);
    const plain = newRequest(prompt, 1);
    batch.join(plain);
    await run(batch);
    // What is remembered has no logits: it is read again.
    const request = newRequest(prompt, 0, { scores: 2 });
    batch.join(request);
    const { scores, reason, tokens } = (await run(batch)).get(request)!;
    expect([reason, tokens.length, scores.length]).toEqual(['length', 0, 149]);
    for (const [i, { logProbability, alternatives }] of scores.entries()) {
      const row = logits.subarray(i * vocabulary, (i + 1) * vocabulary);
      const order = [...row.keys()].sort((a, b) => row[b]! - row[a]!);
      expect(alternatives.map(({ id, text }) => [id, text])).toEqual(order.slice(0, 2).map((id) => [id, `<${id}>`]));
      const expected = logProbabilities(row, [prompt[i + 1]!, order[0]!]);
      expect(logProbability).toBeCloseTo(expected[0]!, 4);
      expect(alternatives[0]!.logProbability).toBeCloseTo(expected[1]!, 4);
    }
    batch.dispose();
  });

  test('a prompt that is too long or empty is refused, one that leaves a single place is not', async () => {
    const batch = open(1);
    const ofLength = (length: number, maxTokens: number): BatchRequest =>
      newRequest(Array<number>(length).fill(1), maxTokens, { contextLength: 10 });
    expect(() => batch.join(ofLength(0, 1))).toThrow('The prompt is empty.');
    expect(() => batch.join(ofLength(10, 1))).toThrow('10 tokens, but the model sees 10');
    const last = ofLength(9, 5);
    batch.join(last);
    expect((await run(batch)).get(last)).toMatchObject({ reason: 'context-full', tokens: [{ index: 0 }] });
    batch.dispose();
  });
});
