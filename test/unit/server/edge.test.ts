/** What is refused at the edge of the server, before a model is asked anything. */
import { request } from 'node:http';
import { newTally } from '../../../backend/server/http/tally.ts';
import { connect, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { isLoopback } from '../../../backend/server/http/guards.ts';
import { listen, type OpenServer, type ServerSettings } from '../../../backend/server/http/listen.ts';
import { newNestingMeter } from '../../../backend/server/http/nesting.ts';
import { openWriter, type Writer } from '../../../backend/server/writer.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import type { ServedModel, ServeEvent, ServeMessage } from '../../../protocol/serving.ts';

const model: ServedModel = {
  name: 'm',
  layers: 1,
  vocabulary: 9,
  contextLength: 9,
  trainedContextLength: 9,
  parallel: 1,
  exits: [],
  device: 'cpu',
  chatTemplate: null,
  bosText: '',
  eosText: '',
  fills: false,
};

/** A job whose model is there at once, and that answers what `answer` says. */
function fakeJob(
  answer: (message: ServeMessage) => ServeEvent | null | Promise<ServeEvent> = () => null,
  served: Partial<ServedModel> = {},
) {
  const events: ServeEvent[] = [{ type: 'serving', model: { ...model, ...served } }];
  let wake = (): void => undefined;
  return {
    send(message: ServeMessage) {
      void Promise.resolve(answer(structuredClone(message))).then((event) => {
        if (event) events.push(event);
        wake();
      });
    },
    async *read(): AsyncGenerator<ServeEvent, void> {
      for (;;) {
        yield* events.splice(0);
        if (events.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}

async function open(writer: Writer, given: Partial<ServerSettings> = {}): Promise<OpenServer & { defects: unknown[] }> {
  const defects: unknown[] = [];
  const server = await listen({
    host: '127.0.0.1',
    port: 0,
    keys: [],
    origins: [],
    name: 'm',
    options: parseOptions('generate', {}),
    bodyBytes: 2 ** 22,
    onDefect: (error) => void defects.push(error),
    ...given,
  });
  server.answer(writer);
  await wait(0);
  return { ...server, defects };
}

const limits = { queue: 0, seconds: 10, questionBytes: 2 ** 22 };
const caller = { sender: { client: 'a', key: '' }, bytes: 10, tally: newTally(), signal: new AbortController().signal };
const nested = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`;

test('the depth of JSON is that of its lists and objects, whatever its texts hold and however it comes', () => {
  const text = Buffer.from(String.raw`{"a":[{"b[{":"]\"[[\\"}, "é", [[]]], "c": "[[[[["}`);
  expect(newNestingMeter()(text)).toBe(4);
  const meter = newNestingMeter();
  let deepest = 0;
  for (const byte of text) deepest = meter(Uint8Array.of(byte));
  expect(deepest).toBe(4);
});

test('a body that is nested too deep is refused in one sentence, at every endpoint and every depth, and keeps nothing', async () => {
  const writer = openWriter(
    fakeJob((message) => (message.type === 'ask' ? { type: 'answered', id: message.id, answer: 'a text' } : null)),
    limits,
    () => undefined,
  );
  const server = await open(writer);
  const post = (path: string, body: string): Promise<Response> =>
    fetch(`${server.url}${path}`, { method: 'POST', body });
  const paths = [
    '/v1/completions',
    '/v1/chat/completions',
    '/completion',
    '/infill',
    '/tokenize',
    '/detokenize',
    '/apply-template',
  ];
  for (const path of paths)
    for (const levels of [100, 101, 1000, 3000, 5000, 8000, 20_000, 100_000]) {
      const fields = { messages: [{ role: 'user', content: 'x' }], content: 'x', tokens: [1] };
      const body = JSON.stringify({ ...fields, chat_template_kwargs: { deep: 0 } }).replace('0}', `${nested(levels)}}`);
      const response = await post(path, body);
      const { error } = (await response.json()) as { error: { message: string } };
      expect([path, levels, response.status, error.message]).toEqual([
        path,
        levels,
        400,
        'The body is nested deeper than 100 lists and objects.',
      ]);
    }
  const sound = { messages: [{ role: 'user', content: 'x' }], tools: [JSON.parse(nested(98)) as unknown] };
  expect(await (await post('/apply-template', JSON.stringify(sound))).json()).toEqual({ prompt: 'a text' });
  // The arguments of a call are JSON within the body's.
  const calling = (levels: number): Promise<Response> => {
    const call = { type: 'function', function: { name: 'a', arguments: `{"a":${nested(levels)}}` } };
    return post(
      '/apply-template',
      JSON.stringify({ messages: [{ role: 'assistant', content: '', tool_calls: [call] }] }),
    );
  };
  expect(await (await calling(99)).json()).toEqual({ prompt: 'a text' });
  for (const levels of [100, 100_000])
    expect(await (await calling(levels)).json()).toMatchObject({ error: { message: 'Arguments of a call are nested deeper than 100 lists and objects.' } }); // prettier-ignore
  expect(server.defects).toEqual([]);
  await server.close(100);
});

test('nothing waits for an answer that cannot be sent', async () => {
  let isBroken = true;
  const job = fakeJob((message) => (message.type === 'ask' ? { type: 'answered', id: message.id, answer: 'a' } : null));
  const send = (message: ServeMessage): void => {
    if (isBroken) throw new DOMException('no clone', 'DataCloneError');
    job.send(message);
  };
  const writer = openWriter({ ...job, send }, limits, () => undefined);
  await wait(0);
  for (let i = 0; i < 80; i++)
    await expect(writer.ask<'detokenize'>({ kind: 'detokenize', ids: [] }, caller)).rejects.toThrow('no clone');
  isBroken = false;
  expect(await writer.ask<'detokenize'>({ kind: 'detokenize', ids: [] }, caller)).toBe('a');
});

test.each([
  ['localhost', true],
  ['LOCALHOST', true],
  ['localhost.', true],
  ['127.0.0.1', true],
  ['127.9.8.7', true],
  ['[::1]', true],
  ['127.999.0.1', false],
  ['127.1', false],
  ['127.0.0.1.example', false],
  ['localhost.example', false],
  ['localhost..', false],
  ['', false],
])('%s is this machine itself: %s', async (host, isHere) => {
  expect(isLoopback(host)).toBe(isHere);
  const server = await open(openWriter(fakeJob(), limits, () => undefined));
  const status = await new Promise((resolve, reject) => {
    const { port } = new URL(server.url);
    const sent = request({ host: '127.0.0.1', port, path: '/health', headers: { Host: `${host}:${port}` } });
    sent.on('response', (response) => resolve(response.resume().statusCode)).on('error', reject);
    sent.end();
  });
  expect(status).toBe(isHere ? 200 : 403);
  await server.close(100);
});

/** Opens sockets that say `words` and nothing more. */
async function hold(url: string, count: number, words = ''): Promise<Socket[]> {
  const { port } = new URL(url);
  const sockets = Array.from({ length: count }, () => connect(Number(port), '127.0.0.1').on('error', () => undefined));
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
  for (const socket of sockets) socket.write(words);
  return sockets;
}

test('sockets that are idle give way to those that ask, and none that is answered does', async () => {
  // A question that is never answered.
  const writer = openWriter(fakeJob(), limits, () => undefined);
  const server = await open(writer, { sockets: { most: 100, ofAddress: 8 } });
  const body = '{"tokens":[1]}';
  const words = `POST /detokenize HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const busy = await hold(server.url, 2, words);
  await wait(100);
  const idle = await hold(server.url, 30);
  for (let i = 0; i < 10; i++) expect((await fetch(`${server.url}/health`)).status).toBe(200);
  await wait(100);
  expect(busy.map(({ readyState }) => readyState)).toEqual(['open', 'open']);
  expect(idle.filter(({ readyState }) => readyState === 'open').length).toBeLessThan(7);
  for (const socket of [...busy, ...idle]) socket.destroy();
  await server.close(100);
});

/** More than the system takes of an answer before its reader does. */
const long = 'x'.repeat(30_000_000);

test.each([
  ['GET /props', ''],
  ['POST /detokenize', '{"tokens":[1]}'],
])('a reader that takes nothing of its answer to %s is disconnected', async (what, body) => {
  const job = fakeJob(({ id }) => ({ type: 'answered', id, answer: long }), { chatTemplate: long });
  let isOver = (): void => undefined;
  const over = new Promise<void>((resolve) => (isOver = resolve));
  const writer = openWriter(job, limits, () => undefined);
  const server = await open(writer, { readerMilliseconds: 500, onRequest: () => isOver() });
  const words = `${what} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const started = performance.now();
  const [socket] = await hold(server.url, 1, words);
  await over;
  expect(performance.now() - started).toBeLessThan(5_000);
  socket!.destroy();
  await server.close(100);
});

test('an answer may be awaited for longer than a reader may take nothing, also behind another of its socket', async () => {
  const answer = async ({ id }: ServeMessage): Promise<ServeEvent> => {
    await wait(1_000);
    return { type: 'answered', id, answer: 'a' };
  };
  const server = await open(
    openWriter(fakeJob(answer), limits, () => undefined),
    { readerMilliseconds: 300 },
  );
  const body = '{"tokens":[1]}';
  const ask = `POST /detokenize HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const [socket] = await hold(server.url, 1, `GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n${ask}`);
  let text = '';
  socket!.on('data', (chunk: Buffer) => (text += chunk.toString()));
  await wait(2_000);
  expect(text).toMatch(/"status":"ok"[^]*"content":"a"/);
  socket!.destroy();
  await server.close(100);
});

test('a client that leaves ends its answers, also the one that waits behind another of its socket', async () => {
  const statuses: number[] = [];
  const writer = openWriter(fakeJob(), limits, () => undefined);
  const server = await open(writer, { onRequest: ({ status }) => void statuses.push(status) });
  const body = '{"tokens":[1]}';
  const ask = `POST /detokenize HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const [socket] = await hold(server.url, 1, ask + ask);
  await wait(200);
  socket!.destroy();
  await wait(200);
  expect(statuses).toEqual([499, 499]);
  const started = performance.now();
  await server.close(10_000);
  expect(performance.now() - started).toBeLessThan(2_000);
});

test('a server that stops lets its clients take what has been answered', async () => {
  const server = await open(openWriter(fakeJob(undefined, { chatTemplate: long }), limits, () => undefined));
  const response = await fetch(`${server.url}/props`);
  const started = performance.now();
  const closing = server.close(10_000);
  await wait(300);
  await expect(fetch(`${server.url}/health`)).rejects.toThrow();
  expect(((await response.json()) as { chat_template: string }).chat_template).toHaveLength(long.length);
  await closing;
  expect(performance.now() - started).toBeLessThan(5_000);
});

test('what takes long to read holds up no other client', async () => {
  const server = await open(openWriter(fakeJob(), limits, () => undefined));
  const started = performance.now();
  const word = '1'.repeat(1_000_000);
  for (const early_exit of [{ threshold: `${word}x` }, { [word]: 1 }, { mode: word }, { exits: [word] }]) {
    const sent = { method: 'POST', body: JSON.stringify({ prompt: 'x', early_exit }) };
    expect((await fetch(`${server.url}/v1/completions`, sent)).status).toBe(400);
  }
  expect(performance.now() - started).toBeLessThan(2_000);
  await server.close(100);
});

test('headers that do not come are waited for for ten seconds', async () => {
  const server = await open(openWriter(fakeJob(), limits, () => undefined));
  const started = performance.now();
  const sockets = [...(await hold(server.url, 2)), ...(await hold(server.url, 2, 'GET /health HTTP/1.1\r\nHost: '))];
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.resume().once('close', resolve))));
  expect(performance.now() - started).toBeLessThan(13_000);
  await server.close(100);
}, 40_000);
