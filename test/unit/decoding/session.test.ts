/** Readers that share the batch of one model: each hears of its own texts, and those that are urgent come first. */
import { afterAll, expect, test } from 'vitest';
import type { BatchEvent, BatchRequest } from '../../../backend/decoding/batch.ts';
import { openSession, type Session } from '../../../backend/decoding/session.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import type { StagedModel } from '../../../backend/runtime/staged-model.ts';
import { decodeAll, idsOf, plainRequest } from '../../support/decoding.ts';
import { tinyModel } from '../../support/models.ts';

const model = tinyModel();
const staged = await openStagedModel(model);
afterAll(async () => {
  await staged.dispose();
  model.close();
});

const textOf = (prompt: readonly number[], maxTokens: number, different: Partial<BatchRequest> = {}): BatchRequest => {
  const { prompts, ...options } = plainRequest([prompt], maxTokens);
  return { ...options, prompt: prompts[0]!, number: 0, scores: null, ...different };
};

const promptOf = (seed: number, length: number): number[] => Array.from({ length }, (_, i) => (seed * (i + 3)) % 250);

/** The text of one request; `told` is called with each event. */
async function written(
  session: Session,
  text: BatchRequest,
  onEvent: (event: BatchEvent<BatchRequest>) => void = () => undefined,
): Promise<number[]> {
  const ids: number[] = [];
  for await (const event of session.write([text])) {
    onEvent(event);
    if (event.type === 'tokens') ids.push(...idsOf(event.tokens));
  }
  return ids;
}

const alone = async (prompt: readonly number[], maxTokens: number): Promise<number[]> =>
  idsOf((await decodeAll(staged, plainRequest([prompt], maxTokens))).tokens[0]!);

test('readers that come at different times hear what each of their texts is alone', async () => {
  const session = openSession(staged);
  const prompts = [5, 7, 11, 13].map((seed, i) => promptOf(seed, 10 + 30 * i));
  const texts = await Promise.all(prompts.map((prompt) => written(session, textOf(prompt, 12))));
  for (const [i, prompt] of prompts.entries()) expect(texts[i]).toEqual(await alone(prompt, 12));
  session.dispose();
});

test.each([
  [1, 0],
  [0, -1],
])(
  'a text of urgency %i is written before the next token of one of %i, whose text stays what it is',
  async (urgency, other) => {
    const session = openSession(staged, { rows: 4, pieceTokens: 16 });
    const [chat, gap] = [promptOf(5, 20), promptOf(7, 60)];
    const order: string[] = [];
    const urgent: Promise<number[]>[] = [];
    const long = await written(session, textOf(chat, 20, { urgency: other }), (event) => {
      if (event.type !== 'tokens') return;
      order.push('chat');
      if (order.length === 3)
        urgent.push(
          written(session, textOf(gap, 6, { urgency }), ({ type }) => {
            if (type === 'tokens') order.push('gap');
          }),
        );
    });
    expect(await Promise.all(urgent)).toEqual([await alone(gap, 6)]);
    expect(long).toEqual(await alone(chat, 20));
    // The step that ran when it came may have decided one more.
    expect(order.slice(0, 10).filter((kind) => kind === 'gap')).toHaveLength(6);
    session.dispose();
  },
);

test('if no row is free, a text that is more urgent waits until one is', async () => {
  const session = openSession(staged, { rows: 1 });
  const urgent: Promise<number[]>[] = [];
  const [chat, gap] = [promptOf(5, 20), promptOf(7, 20)];
  const long = await written(session, textOf(chat, 6), ({ type }) => {
    if (type === 'prompt') urgent.push(written(session, textOf(gap, 3, { urgency: 1 })));
  });
  expect(long).toEqual(await alone(chat, 6));
  expect(await Promise.all(urgent)).toEqual([await alone(gap, 3)]);
  session.dispose();
});

test('a session that is stopped in the middle of a step has ended it before what it uses is freed', async () => {
  let passes = 0;
  const session = openSession(counting(staged, () => passes++));
  const text = textOf(promptOf(5, 10), 100);
  const reading = written(session, text, ({ type }) => {
    if (type === 'tokens') session.leave(text);
  });
  await session.stop();
  const before = passes;
  session.dispose();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(passes).toBe(before);
  void reading;
});

test('nothing is computed for a reader that is busy, and one that goes leaves the others', async () => {
  let passes = 0;
  const session = openSession(counting(staged, () => passes++));
  const reader = session.write([textOf(promptOf(5, 10), 50)]);
  await reader.next();
  await reader.next();
  const before = passes;
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(passes).toBe(before);
  const other = written(session, textOf(promptOf(7, 10), 8));
  await reader.return(undefined);
  expect(await other).toEqual(await alone(promptOf(7, 10), 8));
  session.dispose();
});

test('a text that is left in the middle of a step says no more, and its row is free', async () => {
  const first = textOf(promptOf(5, 10), 100);
  const order: string[] = [];
  let saidUntil: number | null = null;
  const midStep = counting(staged, async () => {
    // Until the reader has what the last step wrote.
    await new Promise(setImmediate);
    if (order.length < 3 || saidUntil !== null) return;
    session.leave(first);
    saidUntil = order.length;
  });
  const session = openSession(midStep, { rows: 1 });
  const reading = written(session, first, ({ type }) => order.push(type));
  const second = await written(session, textOf(promptOf(7, 10), 5));
  await reading;
  expect(saidUntil).toBeLessThan(20);
  expect(order).toHaveLength(saidUntil!);
  expect(second).toEqual(await alone(promptOf(7, 10), 5));
  session.dispose();
});

test('events of a text that is left before they are read are dropped', async () => {
  const session = openSession(staged);
  const [first, second] = [textOf(promptOf(5, 10), 5), textOf(promptOf(7, 10), 100)];
  const read: BatchRequest[] = [];
  for await (const { request } of session.write([first, second])) {
    if (read.length === 0) session.leave(second);
    read.push(request);
  }
  expect(read.length).toBeGreaterThan(1);
  expect(new Set(read)).toEqual(new Set([first]));
  session.dispose();
});

test('a step that fails is reported to all, and the next text begins anew', async () => {
  let isBroken = false;
  const session = openSession(
    counting(staged, () => {
      if (isBroken) throw new Error('no more');
    }),
  );
  const texts = [5, 7].map((seed) => written(session, textOf(promptOf(seed, 10), 50), () => (isBroken = true)));
  const outcomes = await Promise.allSettled(texts);
  expect(outcomes.map((one) => (one.status === 'rejected' ? String(one.reason) : ''))).toEqual([
    'Error: no more',
    'Error: no more',
  ]);
  isBroken = false;
  expect(await written(session, textOf(promptOf(5, 10), 4))).toEqual(await alone(promptOf(5, 10), 4));
  session.dispose();
});

test('a prompt with a token that the model lacks is refused, and no other text hears of it', async () => {
  const session = openSession(staged);
  const { vocabulary } = model.spec;
  const texts = [textOf([5, vocabulary, 7], 4), textOf(promptOf(7, 10), 4)].map((text) => written(session, text));
  const [refused, other] = await Promise.allSettled(texts);
  expect(refused).toMatchObject({ reason: { code: 'bad-argument' } });
  expect(other).toMatchObject({ value: await alone(promptOf(7, 10), 4) });
  session.dispose();
});

test('what is remembered keeps to its room, and the oldest goes first', async () => {
  const remembered = async (session: Session, prompt: readonly number[]): Promise<number> => {
    let tokens = -1;
    await written(session, textOf(prompt, 1), (event) => {
      if (event.type === 'prompt') tokens = event.remembered;
    });
    return tokens;
  };
  // Room for two texts of at most 256 tokens.
  const session = openSession(staged, { rows: 8, positions: 600 });
  const [a, b, c] = [5, 7, 11].map((seed) => promptOf(seed, 100));
  for (const prompt of [a!, b!, c!]) expect(await remembered(session, prompt)).toBe(0);
  expect(await remembered(session, [...c!, 1])).toBeGreaterThan(90);
  expect(await remembered(session, [...b!, 1])).toBeGreaterThan(90);
  expect(await remembered(session, [...a!, 1])).toBe(0);
  session.dispose();
});

/** The model, with something that is done before each pass. */
function counting(of: StagedModel, before: () => unknown): StagedModel {
  return {
    ...of,
    openSlots(rows) {
      const slots = of.openSlots(rows);
      const run: typeof slots.run = async (...call) => {
        await before();
        await slots.run(...call);
      };
      return Object.create(slots, { run: { value: run } }) as typeof slots;
    },
  };
}
