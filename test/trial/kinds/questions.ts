/** Some clients that want all of a server, each with a key of its own, beside one that asks for little and must not notice. */
import { mkdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import { ask, startServing, stopServing, type Answer, type Question, type Server } from '../http-client.ts';
import { problemOfUnshown } from '../judge.ts';
import { shippedModel, wordsOf } from '../material.ts';
import { below, failed, held, pick, type Kind } from '../trial.ts';

const keys = ['modest', 'greedy', 'deep', 'curious'] as const;
const serving = { model: shippedModel, device: 'cpu', threads: 1, parallel: 4, queue: 64, maxTokens: 16, seconds: 60 };
/** What the modest client must not wait for longer, with all that the others ask for before it. */
const mostSeconds = 30;
/** From the signal to the end, three of them for what is being written. */
const endSeconds = 8;

const post = (path: string, body: object | string): Question => ({
  path,
  body: typeof body === 'string' ? body : JSON.stringify(body),
});
const secret = 'const password = "the text that one client sent and no other may guess";';
const nested = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`;

/** What the others do, and which answers are right. */
const greeds: readonly {
  readonly key: (typeof keys)[number];
  question(random: Random): Question;
  right: readonly number[];
}[] = [
  {
    key: 'greedy',
    question: (random) =>
      post('/tokenize', {
        content: pick(random, [' x', 'x', 'const a = 1;\n']).repeat(100_000 + below(random, 200_000)),
      }),
    right: [200, 503],
  },
  {
    key: 'greedy',
    question: (random) =>
      post('/v1/completions', {
        prompt: Array(8).fill('let x'),
        n: 32 + below(random, 96),
        temperature: 1,
        stream: random() < 0.5,
      }),
    right: [200, 503],
  },
  {
    key: 'deep',
    question: (random) => {
      const body = JSON.stringify({
        messages: [{ role: 'user', content: 'x' }],
        prompt: 'x',
        content: 'x',
        tools: [0],
      });
      const levels = 101 + below(random, 100_000);
      return post(
        pick(random, ['/apply-template', '/tokenize', '/v1/completions', '/infill']),
        body.replace('[0]', nested(levels)),
      );
    },
    right: [400],
  },
  {
    key: 'deep',
    question: (random) => post('/v1/completions', { prompt: pick(random, ['x', ' x']).repeat(1_500_000) }),
    right: [400],
  },
];

export const questions: Kind = {
  name: 'questions',
  tries:
    'a server that some ask for more than it has: megabytes to tokenize, a thousand texts, lists in lists, idle sockets, and then SIGTERM',
  promise: `another client is answered within ${mostSeconds} s and learns nothing of what they sent; the server ends within ${endSeconds} s`,
  attempts: 4,
  inTests: 0,
  lanes: 1,
  open: ({ program, folder: material }) => {
    const home = path.join(material, `questions-${process.pid}`);
    mkdirSync(home, { recursive: true });
    return Promise.resolve({
      async attempt({ random }) {
        const server = await startServing(program, wordsOf(serving), home, keys.join('\n'));
        const as = (key: string): Server => ({ ...server, key });
        const drawn = greeds.flatMap((greed) =>
          Array.from({ length: 12 }, () => ({ greed, question: greed.question(random) })),
        );
        const idle = openIdle(server, 400);
        // Sockets of those whose server ends break off.
        const others = drawn.map(({ greed, question }) =>
          ask(as(greed.key), { ...question, leaves: 30_000 }).then(
            (answer) => problemOfAnswer(greed.right, answer),
            () => null,
          ),
        );
        await wait(500);
        const problem =
          (await modestProblem(as('modest'))) ??
          (await secretProblem(as('modest'), as('curious'))) ??
          (await endProblem(server));
        for (const socket of idle) socket.destroy();
        const found = problem ?? (await Promise.all(others)).find(Boolean);
        return found ? failed(found) : held;
      },
      close: () => Promise.resolve(),
    });
  },
};

/** The answers of others: those that ended with the server say nothing. */
function problemOfAnswer(right: readonly number[], { status, text }: Answer): string | null {
  if (status === 0 || text === '') return null;
  if (!right.includes(status)) return `status ${status} in place of ${right.join(' or ')}: ${text.slice(0, 300)}`;
  if (status === 200) return null;
  return problemOfUnshown((JSON.parse(text) as { error: { message: string } }).error.message);
}

async function modestProblem(server: Server): Promise<string | null> {
  for (const question of [
    post('/v1/completions', { prompt: 'export function add(', max_tokens: 1 }),
    post('/tokenize', { content: 'let x' }),
    { path: '/health' },
  ]) {
    const started = performance.now();
    const { status, text } = await ask(server, question);
    const seconds = (performance.now() - started) / 1000;
    if (status !== 200) return `who asked for little was refused: ${status} ${text.slice(0, 300)}`;
    if (seconds > mostSeconds) return `who asked for little waited ${seconds.toFixed(0)} s for ${question.path}`;
  }
  return null;
}

async function secretProblem(owner: Server, other: Server): Promise<string | null> {
  const question = post('/v1/completions', { prompt: secret, max_tokens: 1 });
  await ask(owner, question);
  const { status, text } = await ask(other, question);
  if (status !== 200) return `status ${status}: ${text.slice(0, 300)}`;
  const { usage } = JSON.parse(text) as { usage: { prompt_tokens_details: { cached_tokens: number } } };
  const cached = usage.prompt_tokens_details.cached_tokens;
  return cached === 0 ? null : `${cached} tokens that another had sent were said to be cached`;
}

async function endProblem(server: Server): Promise<string | null> {
  const started = performance.now();
  const code = await stopServing(server);
  const seconds = (performance.now() - started) / 1000;
  if (code !== 0 && code !== 130) return `the server ended with ${String(code)}`;
  return seconds > endSeconds ? `the server took ${seconds.toFixed(0)} s to end` : null;
}

function openIdle({ url }: Server, count: number): Socket[] {
  const { port, hostname } = new URL(url);
  return Array.from({ length: count }, () => connect(Number(port), hostname).on('error', () => undefined));
}
