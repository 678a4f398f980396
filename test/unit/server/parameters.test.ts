/** What a request may say of how its texts are written, and the small endpoints that clients look at first. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openStream, type StreamFormat } from '../../../backend/server/http/stream.ts';
import { clientOf, servedFiles, serveHere } from '../../support/served.ts';

const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
const place = await servedFiles(folder);
// As in models whose tokenizer also has markers for images, for which they have no row.
const tokenizerFile = join(place.model, 'tokenizer.json');
const written = JSON.parse(readFileSync(tokenizerFile, 'utf8')) as { added_tokens: object[] };
const marker = { ...written.added_tokens.at(-1), id: 4096, content: '<image>' };
writeFileSync(tokenizerFile, JSON.stringify({ ...written, added_tokens: [...written.added_tokens, marker] }));
const tokenizer = loadTokenizer(place.model);
const server = await serveHere(place, { parallel: 2, alias: 'gpt/mine' });
await server.loaded;
const { post, ask } = clientOf(server.url);
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});
const read = async (path: string): Promise<unknown> => (await fetch(`${server.url}${path}`)).json();

const prompt = 'export function sum(values: number[]): number {';
const messages = [{ role: 'user', content: 'add' }];

test.each([
  ['/v1/completions', { prompt }],
  ['/v1/chat/completions', { messages }],
])('%s takes the limit by any of its names', async (path, body) => {
  for (const name of ['max_tokens', 'max_completion_tokens', 'n_predict', 'num_predict'])
    expect((await ask(path, { ...body, [name]: 3 })).usage.completion_tokens).toBe(3);
});

describe('logits are changed', () => {
  const body = { prompt, max_tokens: 4 };
  const textOf = async (more: object): Promise<string> =>
    (await ask('/v1/completions', { ...body, ...more })).choices[0]!.text;

  test('by a bias, in every form: a token is forced, or never comes', async () => {
    const [id] = tokenizer.encode(';', { addSpecial: false });
    expect(await textOf({ logit_bias: { [id!]: 100 } })).toBe(';;;;');
    expect((await ask('/completion', { prompt, n_predict: 4, logit_bias: [[id, 100]] })).content).toBe(';;;;');
    expect((await ask('/completion', { prompt, n_predict: 4, logit_bias: [[';', 100]] })).content).toBe(';;;;');
    const plain = await ask('/completion', { prompt, n_predict: 1, return_tokens: true });
    const without = { logit_bias: [[plain.tokens[0], false]] };
    const other = await ask('/completion', { prompt, n_predict: 1, return_tokens: true, ...without });
    expect(other.tokens).not.toEqual(plain.tokens);
  });

  test('by penalties, of what the text itself has: each token comes once', async () => {
    const body = { prompt, n_predict: 24, return_tokens: true };
    const ids = async (more: object): Promise<number[]> => (await ask('/completion', { ...body, ...more })).tokens;
    const plain = await ids({});
    const once = await ids({ presence_penalty: 2, frequency_penalty: 2 });
    expect(new Set(once).size).toBeGreaterThan(new Set(plain).size);
    // Drafts are decided with what stands before them.
    for (const mode of ['full', 'lossless'])
      expect(await ids({ frequency_penalty: 1, early_exit: { mode } })).toEqual(await ids({ frequency_penalty: 1, early_exit: { mode: 'full' } })); // prettier-ignore
  });
});

test('the model is called as --alias says, alone and in the list', async () => {
  expect(server.name).toBe('gpt/mine');
  for (const path of ['/v1/models/gpt/mine', '/v1/models/gpt%2Fmine', '/models/gpt/mine'])
    expect(await read(path)).toMatchObject({ id: 'gpt/mine', object: 'model' });
  expect(await read('/v1/models/other')).toMatchObject({ error: { code: 'model_not_found' } });
  expect((await post('/v1/completions', { prompt, model: 'gpt/mine', max_tokens: 1 })).status).toBe(200);
  const version = (JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }).version;
  expect(await read('/version')).toEqual({ version });
});

test('slots say which rows are written in', async () => {
  expect(await read('/slots')).toMatchObject([{ id: 0, is_processing: false }, { is_processing: false }]);
  const stop = new AbortController();
  const stream = await post('/completion', { prompt, stream: true, n_predict: 200 }, { signal: stop.signal });
  await stream.body!.getReader().read();
  expect(await read('/slots')).toMatchObject([
    { is_processing: true, n_prompt_tokens: tokenizer.encode(prompt).length },
    { is_processing: false },
  ]);
  stop.abort();
});

test('a prompt that stops at an exit without a memory is refused, and the server goes on', async () => {
  const response = await post('/v1/completions', { prompt, early_exit: { mode: 'fast', prompt_exit: 3 } });
  expect([response.status, await response.text()]).toMatchObject([400, expect.stringContaining('There is no exit at layer 3 with a memory')]); // prettier-ignore
  expect((await ask('/v1/completions', { prompt, max_tokens: 1 })).usage.completion_tokens).toBe(1);
});

test.each([
  ['/completion', { prompt: Array(10).fill(prompt), n_probs: 1000, n_predict: -1 }, /alternatives each are too many/],
  ['/v1/completions', { prompt: Array(1024).fill('a'), max_tokens: 400, early_exit: { candidates: 5 } }, /1024 texts of .* alternatives each are too many/], // prettier-ignore
  ['/v1/completions', { prompt: Array(1024).fill(Array(420).fill(5)), max_tokens: 0, echo: true, logprobs: 5 }, /Prompts of up to 430080 tokens with 5 alternatives each are too many/], // prettier-ignore
  ['/v1/completions', { prompt: Array(33).fill(' a'.repeat(300)), n: 31, max_tokens: 0, echo: true, logprobs: 5 }, /Prompts of up to 523776 tokens/], // prettier-ignore
  ['/completion', { prompt, stop: Array(65).fill('a') }, /stop may have 64 texts/],
  ['/completion', { prompt, stop: ['a'.repeat(2000)] }, /of 1024 characters/],
  ['/completion', { prompt, logit_bias: [['a'.repeat(300), 1]] }, /logit_bias/],
  ['/completion', { prompt, logit_bias: Array(1025).fill(['a', 1]) }, /logit_bias may have 1024 biases, not 1025/],
  ['/infill', { input_prefix: '', input_suffix: '', input_extra: [{ text: '', filename: 'a'.repeat(2000) }] }, /input_extra\[0\]\.filename/], // prettier-ignore
])('%s refuses what would hold up other clients (%#)', async (path, body, message) => {
  const response = await post(path, body);
  expect(response.status).toBe(400);
  expect(await response.text()).toMatch(message);
});

test.each([['a <image> b'], [[1, 4096]]])(
  'a token beyond the vocabulary costs its own text alone: %j',
  async (strange) => {
    const other = ask('/completion', { prompt, n_predict: 40 });
    const response = await post('/completion', { prompt: strange });
    expect([response.status, await response.text()]).toEqual([400, expect.stringContaining('has token 4096, but the model has 4096')]); // prettier-ignore
    expect((await other).content).not.toBe('');
  },
);

test("streams of llama.cpp's own endpoints end with their last record", async () => {
  const text = await (await post('/completion', { prompt, n_predict: 2, stream: true })).text();
  const records = text.trim().split('\n\n').map((event) => JSON.parse(event.replace(/^data: /, '')) as object); // prettier-ignore
  expect(records.at(-1)).toMatchObject({ stop: true });
});

/** What a client is sent: silence, a record, the end. */
async function streamed(format?: StreamFormat): Promise<string> {
  const pipe = new PassThrough();
  const response = Object.assign(pipe, {
    writeHead: () => response,
    flushHeaders: () => undefined,
  }) as unknown as ServerResponse;
  let text = '';
  pipe.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const stream = openStream(response, {}, 30, format);
  await setTimeout(100);
  stream.send({ a: 1 });
  stream.done();
  await setTimeout(60);
  return text;
}

test('a stream that waits sends a comment now and then, which is none of its records', async () => {
  expect(await streamed()).toMatch(/^(:\n\n)+data: \{"a":1\}\n\ndata: \[DONE\]\n\n$/);
  expect(await streamed('plain-events')).toMatch(/^(:\n\n)+data: \{"a":1\}\n\n$/);
  // Some clients read every line as JSON.
  const lines = await streamed('lines');
  expect(lines).toMatch(/^ +\{"a":1\}\n$/);
  expect(JSON.parse(lines)).toEqual({ a: 1 });
});
