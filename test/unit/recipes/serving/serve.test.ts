/** What a server writes goes on if a text fails by a mistake of ours, which is made up here. */
import { afterAll, expect, test, vi } from 'vitest';
import type * as Choosing from '../../../../backend/decoding/choose.ts';
import { openWithTokenizer } from '../../../../backend/recipes/opened.ts';
import { serve } from '../../../../backend/recipes/serving/serve.ts';
import { answer } from '../../../../backend/recipes/serving/texts.ts';
import { closeGenerators } from '../../../../backend/recipes/generator.ts';
import { openInbox } from '../../../../backend/worker/inbox.ts';
import { parseOptions } from '../../../../protocol/options.ts';
import type { Question, ServeEvent, ServeMessage, WriteRequest } from '../../../../protocol/serving.ts';
import { shippedModel } from '../../../support/golden.ts';

const made = vi.hoisted(() => ({ failure: null as Error | null }));
vi.mock('../../../../backend/decoding/choose.ts', async (original) => {
  const real = await original<typeof Choosing>();
  return {
    ...real,
    choose: (...given: Parameters<typeof real.choose>) => {
      const { failure } = made;
      made.failure = null;
      return failure ? Promise.reject(failure) : real.choose(...given);
    },
  };
});
afterAll(closeGenerators);

const request: WriteRequest = {
  prompts: [{ kind: 'text', text: 'export function sum(values: number[]): number {\n' }],
  count: 2,
  options: parseOptions('generate', { model: shippedModel, device: 'cpu' }),
  changes: { presencePenalty: 0, frequencyPenalty: 0, bias: [] },
  grammar: null,
  embedding: null,
  maxTokens: 8,
  lineMilliseconds: 0,
  isMeasured: false,
  alternatives: 0,
  echo: false,
  scores: null,
};

test('a defect costs the texts that it met, and not the server', async () => {
  const inbox = openInbox<ServeMessage>();
  const end = new AbortController();
  const write = (id: number): void => inbox.push({ type: 'write', id, sender: { client: 'a', key: '' }, request });
  const events: ServeEvent[] = [];
  for await (const event of serve(parseOptions('serve', { model: shippedModel, device: 'cpu' }), end.signal, inbox)) {
    events.push(event);
    if (event.type === 'serving') {
      made.failure = new RangeError('made up');
      write(1);
    }
    if (event.type === 'refused') write(2);
    if (events.filter(({ type }) => type === 'stopped').length === 2) {
      end.abort();
      inbox.wake();
    }
  }
  const of = (id: number): string[] => [
    ...new Set(events.flatMap((event) => ('id' in event && event.id === id ? [event.type] : []))),
  ];
  expect(of(1).at(-1)).toBe('refused');
  expect(of(2)).toEqual(['accepted', 'read', 'written', 'stopped']);
});

test('clients take turns, and requests of one client do', async () => {
  const inbox = openInbox<ServeMessage>();
  const end = new AbortController();
  const write = (id: number, client: string, count: number): void =>
    inbox.push({ type: 'write', id, sender: { client, key: '' }, request: { ...request, count, maxTokens: 1 } });
  const begun: number[] = [];
  let ended = 0;
  const options = parseOptions('serve', { model: shippedModel, device: 'cpu', parallel: 1 });
  for await (const event of serve(options, end.signal, inbox)) {
    if (event.type === 'serving') {
      write(1, 'a', 6);
      write(2, 'a', 2);
      write(3, 'b', 2);
    }
    if (event.type === 'read') begun.push(event.id);
    if (event.type === 'stopped' && ++ended === 10) {
      end.abort();
      inbox.wake();
    }
  }
  expect([...begun.slice(0, 5)].sort()).toEqual([1, 1, 2, 3, 3]);
  expect(begun).toHaveLength(10);
});

test('a question takes no more than its few milliseconds between two tokens of a text', async () => {
  const question: Extract<Question, { kind: 'tokenize' }> = {
    kind: 'tokenize',
    text: ' x'.repeat(200_000),
    addSpecial: true,
    parseSpecial: false,
    withPieces: false,
  };
  const { model, tokenizer } = openWithTokenizer(shippedModel);
  const steps = [...answer(question, tokenizer)].length;
  model.close();
  // A clock by which each step takes a millisecond: no machine is quick or slow.
  let now = 0;
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => now++);
  const inbox = openInbox<ServeMessage>();
  const end = new AbortController();
  const sender = { client: 'a', key: '' };
  const options = { ...request.options, mode: 'full' as const, stopRepetition: false };
  let beside = 0;
  let asked = false;
  for await (const event of serve(parseOptions('serve', { model: shippedModel, device: 'cpu' }), end.signal, inbox)) {
    if (event.type === 'serving')
      inbox.push({ type: 'write', id: 1, sender, request: { ...request, count: 1, options, maxTokens: 400 } });
    if (event.type === 'written' && !asked) {
      asked = true;
      inbox.push({ type: 'ask', id: 2, sender, question });
    } else if (event.type === 'written') beside += event.tokens.length;
    expect(event.type).not.toBe('stopped');
    if (event.type === 'answered') break;
  }
  clock.mockRestore();
  // A token takes two turns of the loop, each with 8 ms for questions.
  expect(beside).toBeGreaterThan(steps / 20);
});
