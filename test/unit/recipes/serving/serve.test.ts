/** What a server writes goes on if a text fails by a mistake of ours, which is made up here. */
import { afterAll, expect, test, vi } from 'vitest';
import type { Calibration } from '../../../../backend/checkpoint/calibration.ts';
import { finish } from '../../../../backend/data/steps.ts';
import type * as Choosing from '../../../../backend/decoding/choose.ts';
import { openWithTokenizer } from '../../../../backend/recipes/opening/opened.ts';
import { newGrammars } from '../../../../backend/recipes/serving/grammars.ts';
import { textsOf } from '../../../../backend/recipes/serving/requests.ts';
import { serve } from '../../../../backend/recipes/serving/serve.ts';
import { answer } from '../../../../backend/recipes/serving/texts.ts';
import { closeGenerators, type Generator } from '../../../../backend/recipes/opening/generator.ts';
import { openInbox } from '../../../../backend/worker/inbox.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';
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
  cutsPrompts: false,
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

test("the server's prompt exit counts in mode fast alone: a text that auto writes otherwise does without", () => {
  const { model, tokenizer } = openWithTokenizer(shippedModel);
  const exits = [{ layer: 8, architecture: 'lens', head: { kind: 'shared' } }] as const;
  const calibration: Calibration = {
    step: 1,
    promise: { measure: 'regret', limit: 0.02 },
    brought: null,
    fastest: 'fast',
    deferred: 'memory',
    promptExit: 8,
    thresholds: { '8:lens': 0.9 },
    gates: {},
  };
  const generator = { model, tokenizer, exits, calibration } as unknown as Generator;
  const promptExit = (given: Record<string, unknown>, bias: WriteRequest['changes']['bias'] = []): unknown => {
    const options = parseOptions('generate', { exits: 'my.exits', promptExit: '8', ...given });
    const asked = { ...request, count: 1, options, changes: { ...request.changes, bias } };
    const plain = [{ kind: 'ids', ids: [1, 2] }] as const;
    const owner = { id: 1, turn: [], scope: '' };
    return finish(textsOf(asked, plain, owner, generator, newGrammars(tokenizer), 100))[0]!.promptExit;
  };
  expect(promptExit({})).toBe(8);
  for (const given of [{ temperature: 0.7 }, { threshold: '0.5' }, { disable: ['8'] }])
    expect(promptExit(given)).toBeNull();
  expect(promptExit({}, [{ token: 5, added: 1 }])).toBeNull();
  expect(promptExit({ mode: 'fast', temperature: 0.7 })).toBe(8);
  expect(() => promptExit({ promptExit: '4' })).toThrow('--prompt-exit 4 needs exits and the mode fast');
  model.close();
});
