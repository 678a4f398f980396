/** Several clients of one server: turns, limits, what one may learn of another, and streams beside long questions. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as send, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, expect, test } from 'vitest';
import { closeGenerators } from '../../../backend/recipes/opening/generator.ts';
import { clientOf, metric, servedFiles, serveHere, type Answer, type TestServer } from '../../support/served.ts';

const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
const place = await servedFiles(folder);
const keyFile = join(folder, 'keys');
writeFileSync(keyFile, 'first\n\n  second\nthird\n');
afterAll(async () => {
  await closeGenerators();
  rmSync(folder, { recursive: true });
});

const completions = '/v1/completions';

async function serving(given: Record<string, unknown> = {}) {
  const server = await serveHere(place, { keyFile, ...given });
  await server.loaded;
  const { post } = clientOf(server.url);
  const as = (key: string, path: string, body: unknown, init: RequestInit = {}): Promise<Response> =>
    post(path, body, { ...init, headers: { authorization: `Bearer ${key}` } });
  return { server, as };
}

async function ending(server: TestServer): Promise<void> {
  await server.close();
  expect(server.defects).toEqual([]);
}

test('every key of the file is one, and no other text is', async () => {
  const { server, as } = await serving();
  for (const key of ['first', 'second', 'third'])
    expect((await as(key, '/tokenize', { content: 'x' })).status).toBe(200);
  for (const key of ['fourth', '', 'first\nsecond'.slice(0, 4)])
    expect((await as(key, '/tokenize', { content: 'x' })).status).toBe(401);
  await ending(server);
});

test('a text of another client does not wait for all of one who asked for many', async () => {
  const { server, as } = await serving({ parallel: 2 });
  let isOver = false;
  const many = { prompt: Array(8).fill('export function '), n: 40, max_tokens: 12, temperature: 1, stream: true };
  const requestedAt = performance.now();
  const gone = new AbortController();
  const stream = await as('first', completions, many, { signal: gone.signal });
  // Headers say that it is accepted: its texts wait for their turn.
  expect([stream.status, performance.now() - requestedAt < 3000]).toEqual([200, true]);
  const all = stream.text().then(
    () => (isOver = true),
    () => {},
  );
  const next = await as('second', completions, { prompt: 'let x', max_tokens: 1 });
  expect([next.status, isOver]).toEqual([200, false]);
  expect(await openTexts(server)).toBeGreaterThan(200);
  // Another request of the first itself has its turn, too, as long as there is room.
  const refused = await as('first', completions, { prompt: 'let x', max_tokens: 1 });
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
  gone.abort();
  await all;
  await ending(server);
}, 120_000);

test('a chat of another client does not wait for the templates of all chats of one who has many', async () => {
  const model = join(folder, 'slow-model');
  cpSync(place.model, model, { recursive: true });
  const slow = '{% for i in range(12000) %}{% if i < 0 %}{% endif %}{% endfor %}{{ messages[0].content }}';
  writeFileSync(join(model, 'chat_template.jinja'), slow);
  const { server, as } = await serving({ model });
  const chat = { messages: [{ role: 'user', content: 'x' }] };
  let answered = 0;
  const many = Array.from({ length: 16 }, () => as('first', '/apply-template', chat).then(() => answered++));
  while (answered === 0) await wait(2);
  expect(await (await as('second', '/apply-template', chat)).json()).toEqual({ prompt: 'x' });
  expect((await as('second', '/v1/chat/completions', { ...chat, max_tokens: 1 })).status).toBe(200);
  expect(answered).toBeLessThan(12);
  await Promise.all(many);
  await ending(server);
}, 60_000);

const openTexts = async ({ url }: TestServer): Promise<number> => {
  const response = await fetch(`${url}/metrics`, { headers: { authorization: 'Bearer third' } });
  return Number(/^early_exit_texts_open (\d+)$/m.exec(await response.text())?.[1]);
};

test('what a stream is refused for has its own status, though headers leave before there is text', async () => {
  const { server, as } = await serving();
  const long = await as('first', completions, { prompt: Array(2000).fill(5), stream: true });
  expect([long.status, ((await long.json()) as Answer).error.message]).toEqual([
    400,
    'The prompt has 2,000 tokens, but the model sees 512. Shorten it.',
  ]);
  // By its length, and by the first ids of it, of which none is long.
  for (const prompt of ['x'.repeat(3_000_000), ' x'.repeat(5_000)]) {
    const response = await as('first', completions, { prompt, stream: true });
    expect(response.status).toBe(400);
    expect(((await response.json()) as Answer).error.message).toMatch(
      /^The prompt has at least [\d,]+ tokens, but the model sees 512/,
    );
  }
  await ending(server);
});

test.each([
  ['key', { first: 'some', second: 'none' }],
  ['request', { first: 'none', second: 'none' }],
  ['all', { first: 'some', second: 'some' }],
] as const)('with --cache-scope %s a beginning is remembered for %o', async (cacheScope, expected) => {
  const { server, as } = await serving({ cacheScope });
  const prompt = 'const secret = "a long beginning that another client could guess, word by word";';
  const cached = async (key: string): Promise<'some' | 'none'> => {
    const answer = (await (await as(key, completions, { prompt, max_tokens: 2 })).json()) as Answer;
    return answer.usage.prompt_tokens_details.cached_tokens > 0 ? 'some' : 'none';
  };
  expect(await cached('first')).toBe('none');
  expect(await cached('second')).toBe(expected.second);
  expect(await cached('first')).toBe(expected.first);
  await ending(server);
});

test('questions have limits of their own, leave the queue to completions, and are left when their client is gone', async () => {
  const { server, as } = await serving({ queue: 0, parallel: 1, bodyMegabytes: 1 });
  const gone = new AbortController();
  const content = ' x'.repeat(120_000);
  const many = Array.from({ length: 30 }, () =>
    as('first', '/tokenize', { content }, { signal: gone.signal })
      .then(({ status }) => status)
      .catch(() => 0),
  );
  await wait(300);
  const small = await as('second', '/tokenize', { content: 'let x', with_pieces: true });
  expect(((await small.json()) as { tokens: { piece: string }[] }).tokens.map(({ piece }) => piece).join('')).toBe(
    'let x',
  );
  const written = await as('first', completions, { prompt: 'let x', max_tokens: 2 });
  expect(written.status).toBe(200);
  gone.abort();
  const statuses = await Promise.all(many);
  // Four of a quarter of a megabyte each fit into what one client may have open; one more is refused at once.
  expect(statuses.filter((status) => status === 503).length).toBeGreaterThan(20);
  const whole = await as('first', '/tokenize', { content: content.slice(0, 60_000) });
  expect(((await whole.json()) as Answer).tokens.length).toBeGreaterThan(20_000);
  await ending(server);
}, 60_000);

test('a stream goes on beside a long question, and a server that ends waits for none', async () => {
  const { server, as } = await serving();
  const long = { content: ' x'.repeat(200_000) };
  const before = performance.now();
  await (await as('first', '/tokenize', long)).text();
  const alone = performance.now() - before;
  const body = { prompt: 'let x = ', max_tokens: 400, temperature: 1, seed: 4, stream: true };
  const reader = (await as('second', completions, body)).body!.getReader();
  await reader.read();
  let isOver = false;
  const answering = as('first', '/tokenize', long)
    .catch(() => null)
    .finally(() => (isOver = true));
  let beside = 0;
  for (;;) {
    const { done } = await reader.read();
    if (done) break;
    if (!isOver) beside++;
  }
  // Of the time that the question takes by itself, so much lies between two tokens at most (8 ms of work, and what its answer takes).
  expect(beside).toBeGreaterThan(Math.min(alone / 80, 100));
  await answering;
  const waiting = Array.from({ length: 4 }, () =>
    as('first', '/tokenize', { content: ' x'.repeat(150_000) }).catch(() => null),
  );
  await wait(200);
  const started = performance.now();
  await ending(server);
  expect(performance.now() - started).toBeLessThan(8_000);
  await Promise.all(waiting);
}, 120_000);

test('without several keys a client is an address', async () => {
  const server = await serveHere(place, { parallel: 1, queue: 0 });
  await server.loaded;
  const from = (localAddress: string, body: object): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const { port } = new URL(server.url);
      const to = { host: '127.0.0.1', port, localAddress, path: completions, method: 'POST' };
      send(to, resolve).once('error', reject).end(JSON.stringify(body));
    });
  const statusOf = async (localAddress: string): Promise<number> =>
    (await from(localAddress, { prompt: 'y', max_tokens: 1 })).resume().statusCode!;
  // Headers say that it is accepted.
  const long = await from('127.0.0.1', { prompt: 'x', n: 60, max_tokens: 12, temperature: 1, stream: true });
  expect(long.statusCode).toBe(200);
  expect(await statusOf('127.0.0.1')).toBe(503);
  expect(await statusOf('127.0.0.1')).toBe(503);
  // Linux alone has the other addresses of this machine without being told.
  if (process.platform === 'linux') expect(await statusOf('127.0.0.2')).toBe(200);
  expect(await metric(server.url, 'texts_open')).toBeGreaterThan(0);
  long.destroy();
  await ending(server);
}, 60_000);
