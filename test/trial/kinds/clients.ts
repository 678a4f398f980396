/** Two hundred clients at once on a server: some ask, some hang up, send nonsense, have a wrong key, or read and write slowly. */
import { mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import { ask, startServing, stopServing, type Answer, type Question, type Server } from '../http-client.ts';
import { problemOfUnshown } from '../judge.ts';
import { within } from '../language-client.ts';
import { shippedModel, wordsOf } from '../material.ts';
import { damageBytes } from '../mutations/bytes.ts';
import { damageValue } from '../mutations/json.ts';
import { memoryOf } from '../program.ts';
import { below, failed, held, pick, pickByWeight, type Kind } from '../trial.ts';

const clients = 200;
const key = 'trial-key';
const serving = {
  model: shippedModel,
  device: 'cpu',
  threads: 1,
  parallel: 16,
  queue: 2 * clients,
  maxTokens: 24,
  seconds: 100,
};
/** What may be kept of a burst: memory that the allocator holds back, and sockets that are just closing. */
const keptBytes = 256 * 2 ** 20;
const keptFiles = 4;

/** Texts whose answers are known; one of them drawn, with its seed. */
const texts = ['export function add(', 'const value = ', 'import ', '  return items.', '// sums two', 'class A {'].map(
  (prompt, i) => ({ prompt, max_tokens: 4 + 3 * i, seed: 7, temperature: i % 2 }),
);
type Text = (typeof texts)[number];

/** What one client does, and what is wrong with what it was told; null if nothing is. */
interface Role {
  readonly name: string;
  readonly weight: number;
  readonly question: (random: Random, text: Text) => Question;
  readonly problem: (answer: Answer, expected: string) => string | null;
}

const completions = '/v1/completions';
const questionOf = (text: Text, more: object = {}): Question => ({
  path: completions,
  body: JSON.stringify({ ...text, ...more }),
});
const stream = { stream: true };

const roles: readonly Role[] = [
  { name: 'asks', weight: 8, question: (_, text) => questionOf(text), problem: differs },
  { name: 'asks for a stream', weight: 4, question: (_, text) => questionOf(text, stream), problem: streamDiffers },
  {
    name: 'hangs up',
    weight: 4,
    question: (random, text) => ({ ...questionOf(text, random() < 0.5 ? stream : {}), leaves: below(random, 3000) }),
    problem: ({ status }) => (status === 0 || status === 200 ? null : `status ${status}`),
  },
  {
    name: 'sends nonsense',
    weight: 4,
    question: (random, text) => ({
      path: pick(random, [completions, '/v1/chat/completions', '/infill', '/completion', '/tokenize', '/detokenize']),
      body:
        random() < 0.5
          ? damageBytes(Buffer.from(JSON.stringify(text)), random)
          : (JSON.stringify(damageValue({ ...text, stop: ['x'], n: 1 }, random)) ?? ''),
    }),
    problem: refusesInWords,
  },
  {
    name: 'has a wrong key',
    weight: 2,
    question: (random, text) => ({
      ...questionOf(text),
      key: pick(random, ['x', `${key}x`, key.slice(1), key.toUpperCase()]),
    }),
    problem: ({ status }) => (status === 401 ? null : `status ${status}`),
  },
  {
    name: 'reads slowly',
    weight: 2,
    question: (random, text) => ({ ...questionOf(text, stream), slowly: 1 + below(random, 40) }),
    problem: streamDiffers,
  },
];

function differs({ status, text }: Answer, expected: string): string | null {
  if (status !== 200) return `status ${status}: ${text.slice(0, 300)}`;
  const answer = (JSON.parse(text) as { choices: { text: string }[] }).choices[0]!.text;
  return answer === expected ? null : `it was told ${JSON.stringify(answer)} in place of ${JSON.stringify(expected)}`;
}

function streamDiffers({ status, text }: Answer, expected: string): string | null {
  if (status !== 200) return `status ${status}: ${text.slice(0, 300)}`;
  // A stream that says nothing for long sends comments.
  const events = text.split('\n\n').filter((event) => event !== '' && !event.startsWith(':'));
  if (events.pop() !== 'data: [DONE]') return `its stream was not ended: ${text.slice(-300)}`;
  const pieces = events.map((event) => JSON.parse(event.slice('data: '.length)) as { choices: { text: string }[] });
  const answer = pieces.map(({ choices }) => choices[0]?.text ?? '').join('');
  return answer === expected ? null : `it was told ${JSON.stringify(answer)} in place of ${JSON.stringify(expected)}`;
}

/** Nonsense may by chance be sound. */
function refusesInWords({ status, text }: Answer): string | null {
  if (status === 200) return null;
  if (status < 400 || status >= 500) return `status ${status}: ${text.slice(0, 300)}`;
  const { error } = JSON.parse(text) as { error?: { message?: string } };
  return typeof error?.message === 'string' ? problemOfUnshown(error.message) : `no sentence: ${text.slice(0, 300)}`;
}

export const clientsKind: Kind = {
  name: 'clients',
  tries: `${clients} clients at once on a server: they hang up, send nonsense, have a wrong key, read slowly`,
  promise: 'each text is what it is alone, each refusal a sentence; nothing is stuck, nothing is kept',
  attempts: 12,
  inTests: 1,
  lanes: 1,
  async open({ program, folder: material }) {
    const home = path.join(material, `serving-${process.pid}`);
    mkdirSync(home, { recursive: true });
    const server = await startServing(program, wordsOf(serving), home, key);
    const expected: string[] = [];
    for (const text of texts) {
      const { text: answer } = await ask(server, questionOf(text));
      expected.push((JSON.parse(answer) as { choices: { text: string }[] }).choices[0]!.text);
    }
    let memory: number | null = null;
    return {
      async attempt({ random }) {
        const files = filesOf(server);
        const problems = await Promise.all(
          Array.from({ length: clients }, () => oneClient(server, random, expected)).map((each) => each()),
        );
        const problem = problems.find((each) => each !== null) ?? (await whatIsKept(server, files));
        if (problem) return failed(problem);
        // The first burst fills caches and arenas.
        const now = memoryOf(server.child.pid!, 'VmRSS');
        const grown = memory === null ? 0 : now - memory;
        memory ??= now;
        return grown > keptBytes ? failed(`it took ${(grown / 2 ** 20).toFixed(0)} MB more than at first`) : held;
      },
      async close() {
        const code = await stopServing(server);
        if (code !== 0 && code !== 130) throw new Error(`the server ended with ${String(code)}`);
      },
    };
  },
};

/** All that is random is drawn before it begins, so that it does not depend on who is fast. */
function oneClient(server: Server, random: Random, expected: readonly string[]): () => Promise<string | null> {
  const role = pickByWeight(random, roles);
  const n = below(random, texts.length);
  const question = role.question(random, texts[n]!);
  const begins = below(random, 1000);
  return async () => {
    await wait(begins);
    try {
      const answer = await within(ask(server, question), 'it was not answered');
      const problem = role.problem(answer, expected[n]!);
      return problem && `a client that ${role.name}: ${problem}`;
    } catch (error) {
      return `a client that ${role.name} (${question.path}, ${String(question.body).slice(0, 300)}): ${String(error)}`;
    }
  };
}

/** Texts that are still open, and sockets. Those of clients that left are missed within a moment. */
async function whatIsKept(server: Server, files: number | null): Promise<string | null> {
  let problem: string | null = null;
  for (let tries = 0; tries < 100; tries++) {
    const { text } = await ask(server, { path: '/metrics' });
    const open = Number(/^early_exit_texts_open (\d+)$/m.exec(text)?.[1]);
    const more = files === null ? 0 : filesOf(server)! - files;
    problem = open !== 0 ? `${open} texts are still open` : more > keptFiles ? `${more} files are still open` : null;
    if (problem === null) return null;
    await wait(100);
  }
  return problem;
}

/** Open files of the server; null if the system has no /proc. */
function filesOf({ child }: Server): number | null {
  try {
    return readdirSync(`/proc/${child.pid}/fd`).length;
  } catch {
    return null;
  }
}
