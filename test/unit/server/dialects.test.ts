/** The other shapes of a chat, and vectors: each says what OpenAI's chat says, whole and as a stream. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { clientOf, servedFiles, serveHere } from '../../support/served.ts';

const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
const server = await serveHere(await servedFiles(folder), { parallel: 4 });
await server.loaded;
const { post, ask } = clientOf(server.url);
afterAll(async () => {
  expect(server.defects).toEqual([]);
  await server.close();
  rmSync(folder, { recursive: true });
});

/* eslint-disable @typescript-eslint/no-explicit-any, @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment, @typescript-eslint/no-unsafe-call, @typescript-eslint/no-unsafe-return, @typescript-eslint/no-unsafe-argument */
const json = async (path: string, body?: unknown): Promise<any> =>
  (await (body === undefined ? fetch(`${server.url}${path}`) : post(path, body))).json();
/** Events with their names. */
async function events(path: string, body: object): Promise<{ name: string; data: any }[]> {
  const text = await (await post(path, { ...body, stream: true })).text();
  return [...text.matchAll(/^event: (.*)\ndata: (.*)\n\n/gm)].map(([, name, data]) => ({ name: name!, data: JSON.parse(data!) })); // prettier-ignore
}

const requests = [
  { role: 'system', content: 'Be short.' },
  { role: 'user', content: 'add two numbers' },
];
const textOf = async (more: object = {}): Promise<string> =>
  (await ask('/v1/chat/completions', { messages: requests, max_tokens: 8, ...more })).choices[0]!.message.content;
const parameters = { type: 'object', properties: { city: { enum: ['Rome', 'Oslo'] } }, required: ['city'] };
const person = { type: 'object', properties: { age: { type: 'integer', maximum: 9, minimum: 0 } }, required: ['age'] };

describe('/v1/responses', () => {
  const body = { instructions: 'Be short.', input: 'add two numbers', max_output_tokens: 8 };
  test('says the same, in items', async () => {
    const content = await textOf();
    const whole = await json('/v1/responses', body);
    expect(whole).toMatchObject({ object: 'response', status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' }, usage: { output_tokens: 8 } }); // prettier-ignore
    expect(whole.output).toMatchObject([{ type: 'message', role: 'assistant', content: [{ type: 'output_text', text: content }] }]); // prettier-ignore
    const items = [{ role: 'developer', content: [{ type: 'input_text', text: 'Be short.' }] }, { type: 'message', role: 'user', content: 'add two numbers' }]; // prettier-ignore
    const received = await events('/v1/responses', { input: items, max_output_tokens: 8 });
    expect(received.map(({ data }) => data.sequence_number)).toEqual([...received.keys()]);
    expect(received.every(({ name, data }) => name === data.type)).toBe(true);
    expect(received.filter(({ name }) => name === 'response.output_text.delta').map(({ data }) => data.delta).join('')).toBe(content); // prettier-ignore
    expect([...new Set(received.map(({ name }) => name))]).toEqual(['response.created', 'response.in_progress', 'response.output_item.added', 'response.content_part.added', 'response.output_text.delta', 'response.output_text.done', 'response.content_part.done', 'response.output_item.done', 'response.incomplete']); // prettier-ignore
    expect(received.at(-1)!.data.response.output).toMatchObject(whole.output.map((item: object) => ({ ...item, id: received.at(-1)!.data.response.output[0].id }))); // prettier-ignore
  });

  test('calls functions, gets their answers, and fits schemas', async () => {
    const tools = [{ type: 'function', name: 'weather', parameters, strict: true }];
    const call = { ...body, tools, tool_choice: { type: 'function', name: 'weather' }, max_output_tokens: 60 };
    const { output } = await json('/v1/responses', call);
    expect(output).toMatchObject([{ type: 'function_call', name: 'weather', status: 'completed' }]);
    expect(['Rome', 'Oslo']).toContain(JSON.parse(output[0].arguments).city);
    const received = await events('/v1/responses', call);
    expect(received.at(-1)!.data.response.output[0]).toMatchObject({ name: 'weather', arguments: output[0].arguments });
    expect(received.map(({ name }) => name)).toContain('response.function_call_arguments.done');
    const answered = [{ role: 'user', content: 'x' }, output[0], { type: 'function_call_output', call_id: output[0].call_id, output: 'rain' }]; // prettier-ignore
    expect(await json('/v1/responses', { input: answered, tools, max_output_tokens: 2 })).toMatchObject({ object: 'response' }); // prettier-ignore
    const text = { format: { type: 'json_schema', name: 'p', schema: person } };
    const fits = await json('/v1/responses', { ...body, text, max_output_tokens: 40 });
    expect(fits.status).toBe('completed');
    expect(Number.isInteger(JSON.parse(fits.output[0].content[0].text).age)).toBe(true);
  });

  test.each([
    [{ input: 5 }, /input must be a text or a list of items/],
    [{ input: 'x', previous_response_id: 'resp_1' }, /previous_response_id is not supported/],
    [{ input: 'x', n: 2 }, /n is not supported/],
    [{ input: 'x', tools: [{ type: 'web_search' }] }, /must be of type function/],
    [{ input: [{ type: 'message', role: 'user', content: [{ type: 'input_image' }] }] }, /must be a text/],
  ])('%o is refused', async (given, message) => {
    expect((await json('/v1/responses', given)).error.message).toMatch(message);
  });
});

describe('/v1/messages', () => {
  const body = { system: [{ type: 'text', text: 'Be short.' }], messages: [{ role: 'user', content: [{ type: 'text', text: 'add two numbers' }] }], max_tokens: 8 }; // prettier-ignore
  test('says the same, in blocks', async () => {
    const content = await textOf();
    const whole = await json('/v1/messages', body);
    expect(whole).toMatchObject({ type: 'message', role: 'assistant', content: [{ type: 'text', text: content }], stop_reason: 'max_tokens', usage: { output_tokens: 8 } }); // prettier-ignore
    const received = await events('/v1/messages', body);
    expect([...new Set(received.map(({ name }) => name))]).toEqual(['message_start', 'content_block_start', 'content_block_delta', 'content_block_stop', 'message_delta', 'message_stop']); // prettier-ignore
    expect(received.filter(({ name }) => name === 'content_block_delta').map(({ data }) => data.delta.text).join('')).toBe(content); // prettier-ignore
    expect(received.at(-2)!.data).toMatchObject({ delta: { stop_reason: 'max_tokens' }, usage: { output_tokens: 8 } });
    const { input_tokens } = await json('/v1/messages/count_tokens', {
      system: 'Be short.',
      messages: requests.slice(1),
    });
    const { usage } = whole;
    expect(input_tokens).toBe(usage.input_tokens + usage.cache_read_input_tokens);
  });

  test('says which stop sequence ended it', async () => {
    const [first] = (await textOf()).trim();
    const stopped = { ...body, stop_sequences: ['never so', first!] };
    const end = { stop_reason: 'stop_sequence', stop_sequence: first };
    expect(await json('/v1/messages', stopped)).toMatchObject(end);
    expect((await events('/v1/messages', stopped)).at(-2)!.data.delta).toMatchObject(end);
    expect(await json('/v1/messages', body)).toMatchObject({ stop_sequence: null });
  });

  test('calls tools and gets their answers', async () => {
    const tools = [{ name: 'weather', description: 'of a city', input_schema: parameters }];
    for (const tool_choice of [{ type: 'any' }, { type: 'tool', name: 'weather' }]) {
      const call = { ...body, tools, tool_choice, max_tokens: 60 };
      const { content, stop_reason } = await json('/v1/messages', call);
      expect([content.length, content[0].type, content[0].name, stop_reason]).toEqual([1, 'tool_use', 'weather', 'tool_use']); // prettier-ignore
      const received = await events('/v1/messages', call);
      const delta = received.find(({ data }) => data.delta?.type === 'input_json_delta')!.data.delta;
      expect(JSON.parse(delta.partial_json)).toEqual(content[0].input);
      const after = [...body.messages, { role: 'assistant', content }, { role: 'user', content: [{ type: 'tool_result', tool_use_id: content[0].id, content: [{ type: 'text', text: 'rain' }] }, { type: 'text', text: 'and?' }] }]; // prettier-ignore
      expect(await json('/v1/messages', { ...body, tools, messages: after, max_tokens: 2 })).toMatchObject({ type: 'message' }); // prettier-ignore
    }
  });

  test('refuses in its own shape', async () => {
    expect(await json('/v1/messages', { messages: requests })).toMatchObject({ type: 'error', error: { type: 'invalid_request_error', message: /max_tokens must be/ } }); // prettier-ignore
    expect(await json('/v1/messages', { ...body, model: 'claude' })).toMatchObject({ error: { type: 'not_found_error' } }); // prettier-ignore
    expect(await json('/v1/messages', { ...body, n: 2 })).toMatchObject({ error: { message: 'n is not supported. Leave it out.' } }); // prettier-ignore
  });
});

describe("Ollama's", () => {
  const options = { num_predict: 8, temperature: 0 };
  const lines = async (path: string, body: object): Promise<any[]> =>
    (await (await post(path, body)).text()).trim().split('\n').map((line) => JSON.parse(line)); // prettier-ignore
  test('/api/chat says the same, in lines', async () => {
    const content = await textOf();
    const body = { model: 'served-model:latest', messages: requests, options };
    const whole = await json('/api/chat', { ...body, stream: false });
    expect(whole).toMatchObject({ model: 'served-model', message: { role: 'assistant', content }, done: true, done_reason: 'length', eval_count: 8 }); // prettier-ignore
    expect(whole.total_duration).toBeGreaterThan(0);
    const received = await lines('/api/chat', body);
    expect(received.map(({ message }) => message.content).join('')).toBe(content);
    expect(received.map(({ done }) => done)).toEqual([...received.slice(1).map(() => false), true]);
  });

  test('a request without a text loads the model and writes nothing', async () => {
    const loaded = { model: server.name, done: true, done_reason: 'load' };
    expect(await lines('/api/generate', { model: server.name })).toMatchObject([{ ...loaded, response: '' }]);
    expect(await lines('/api/chat', { messages: [] })).toMatchObject([{ ...loaded, message: { content: '' } }]);
    expect(await json('/api/generate', { keep_alive: 0, stream: false })).toMatchObject({ done_reason: 'unload' });
    expect(await json('/api/generate', { model: 'other' })).toMatchObject({ error: expect.stringMatching(/no model/) });
  });

  test('/api/generate takes the template, raw text or a suffix', async () => {
    const content = await textOf();
    expect((await json('/api/generate', { prompt: 'add two numbers', system: 'Be short.', options, stream: false })).response).toBe(content); // prettier-ignore
    const plain = (await ask('/v1/completions', { prompt: 'let a =', max_tokens: 8 })).choices[0]!.text;
    expect((await lines('/api/generate', { prompt: 'let a =', raw: true, options })).map(({ response }) => response).join('')).toBe(plain); // prettier-ignore
    const filled = await ask('/infill', { input_prefix: 'let a = ', input_suffix: ';\n', n_predict: 8 });
    expect((await json('/api/generate', { prompt: 'let a = ', suffix: ';\n', options, stream: false })).response).toBe(filled.content); // prettier-ignore
  });

  test('formats, tools, models and versions', async () => {
    const body = { messages: requests, stream: false, options: { num_predict: 60 } };
    expect(Number.isInteger(JSON.parse((await json('/api/chat', { ...body, format: person })).message.content).age)).toBe(true); // prettier-ignore
    const tools = [{ type: 'function', function: { name: 'weather', parameters } }];
    const { message } = await json('/api/chat', { ...body, tools, tool_choice: 'required' });
    expect(['Rome', 'Oslo']).toContain(message.tool_calls[0].function.arguments.city);
    expect((await json('/api/tags')).models).toMatchObject([{ name: 'served-model:latest' }]);
    expect((await json('/api/ps')).models).toMatchObject([{ name: 'served-model:latest', expires_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]{8}Z$/) }]); // prettier-ignore
    expect((await json('/api/show', { model: 'served-model' })).capabilities).toEqual(['completion', 'embedding', 'tools', 'insert']); // prettier-ignore
    expect((await json('/api/version')).version).toMatch(/^\d+\.\d+\.\d+/);
    expect(await json('/api/show', { model: 'llama3' })).toEqual({ error: 'There is no model "llama3" here, but served-model.' }); // prettier-ignore
    expect(await json('/api/chat', {})).toEqual({ error: 'messages must be a list of at least one message.' }); // prettier-ignore
  });

  test.each([
    ['/api/chat', { messages: [{ role: 'user', content: 'x', images: ['aGk='] }] }, 'images'],
    ['/api/chat', { messages: requests, options: { n: 2 } }, 'n'],
    ['/api/generate', { prompt: 'x', images: ['aGk='] }, 'images'],
    ['/api/generate', { prompt: 'x', raw: true, n: 2 }, 'n'],
    ['/api/embed', { input: 'x', dimensions: 8 }, 'dimensions'],
  ])('%s %o is refused', async (path, body, field) => {
    expect(await json(path, body)).toEqual({ error: `${field} is not supported. Leave it out.` });
    expect(await json('/api/chat', { messages: [{ role: 'user', content: 'x', images: [] }], n: 1, options: { num_predict: 1 }, stream: false })).toMatchObject({ done: true }); // prettier-ignore
  });
});

describe('vectors', () => {
  const input = ['export function sum(a, b)', 'export function add(x, y)', 'import fs from "node:fs"'];
  const of = async (more: object): Promise<number[][]> =>
    (await json('/v1/embeddings', { input, ...more })).data.map(({ embedding }: any) => embedding);
  const dot = (a: number[], b: number[]): number => a.reduce((sum, each, i) => sum + each * b[i]!, 0);

  test.each([{}, { pooling: 'last' }, { exit: '8' }])(
    'with %o: of length 1, and alike where texts are',
    async (more) => {
      const [sum, add, other] = await of(more);
      expect(dot(sum!, sum!)).toBeCloseTo(1, 5);
      expect(dot(sum!, add!)).toBeGreaterThan(dot(sum!, other!));
      const [alone] = (await json('/v1/embeddings', { input: input[0], ...more })).data;
      for (const [i, each] of alone.embedding.entries()) expect(each).toBeCloseTo(sum![i]!, 4);
    },
  );

  test('say where they come from, in any of the forms', async () => {
    const answer = await json('/v1/embeddings', { input, exit: '8:lens', pooling: 'last', encoding_format: 'base64' });
    expect(answer.early_exit).toEqual({ exit: '8:lens', pooling: 'last' });
    expect(answer.usage.prompt_tokens).toBeGreaterThan(10);
    const bytes = Buffer.from(answer.data[0].embedding, 'base64');
    const [plain] = await of({ exit: '8:lens', pooling: 'last' });
    expect([...new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)]).toEqual(plain!.map(Math.fround));
    const [final] = await of({});
    const { embeddings } = await json('/api/embed', { input });
    expect(embeddings[0]).toEqual(final);
    expect((await json('/api/embeddings', { prompt: input[0] })).embedding).toHaveLength(final!.length);
    expect((await json('/v1/embeddings', { input, exit: '9' })).error.message).toMatch(/no exit "9".*4:norm, 8:lens/);
    expect((await json('/v1/embeddings', { input, dimensions: 8 })).error.message).toMatch(
      /dimensions is not supported/,
    );
    expect((await json('/v1/embeddings', { input: [] })).error.message).toMatch(/input must be/);
  });

  test('a long text in pieces is one, and what was remembered of it changes nothing', async () => {
    const text = 'export const value = 1;\n'.repeat(40);
    await ask('/v1/completions', { prompt: text, max_tokens: 1 });
    const [first] = (await json('/v1/embeddings', { input: [text] })).data;
    await ask('/v1/completions', { prompt: text, max_tokens: 1 });
    const [again] = (await json('/v1/embeddings', { input: [text] })).data;
    expect(again.embedding).toEqual(first.embedding);
  });
});
