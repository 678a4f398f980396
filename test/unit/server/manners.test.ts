/** Requests as public clients send them, which other servers take: probes, turns in pieces, begun answers, values without effect. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { callReader } from '../../../backend/server/apis/tools.ts';
import { clientOf, servedFiles, serveHere, type Answer } from '../../support/served.ts';

const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
writeFileSync(join(folder, 'keys'), 'secret\n');
const place = await servedFiles(folder);
const server = await serveHere(place, { parallel: 2, keyFile: join(folder, 'keys') });
await server.loaded;
const key = { headers: { authorization: 'Bearer secret' } };
const client = clientOf(server.url);
const post = (path: string, body: unknown): Promise<Response> => client.post(path, body, key);
afterAll(async () => {
  expect(server.defects).toEqual([]);
  await server.close();
  rmSync(folder, { recursive: true });
});

/* eslint-disable @typescript-eslint/no-explicit-any, @typescript-eslint/no-unsafe-assignment, @typescript-eslint/no-unsafe-member-access */
const json = async (path: string, body: unknown): Promise<any> => (await post(path, body)).json();
const ask = async (path: string, body: unknown): Promise<Answer> => json(path, body) as Promise<Answer>;
const templated = async (messages: object[], more: object = {}): Promise<string> =>
  (await json('/apply-template', { messages, ...more })).prompt as string;

test('programs that ask whether a server is there get an answer without a key, by GET and HEAD', async () => {
  for (const path of ['/', '/health', '/api/version'])
    for (const method of ['GET', 'HEAD']) {
      const response = await fetch(server.url + path, { method });
      expect([path, method, response.status]).toEqual([path, method, 200]);
      expect((await response.text()) === '').toBe(method === 'HEAD');
    }
  expect((await fetch(`${server.url}/v1/models`, { method: 'HEAD' })).status).toBe(401);
  expect((await fetch(`${server.url}/v1/models`, { method: 'HEAD', ...key })).status).toBe(200);
  expect((await fetch(`${server.url}/v1/completions`, { method: 'HEAD', ...key })).status).toBe(405);
});

describe('a turn of the assistant', () => {
  const user = { role: 'user', content: 'weather?' };
  const call = (name: string): object => ({ type: 'function_call', call_id: `call_${name}`, name, arguments: '{}' });
  const result = (name: string): object => ({ type: 'function_call_output', call_id: `call_${name}`, output: 'rain' });
  const tools = ['a', 'b'].map((name) => ({ type: 'function', function: { name, parameters: { type: 'object' } } }));

  test('is one, whatever items /v1/responses has of it', async () => {
    const items = [user, { type: 'message', role: 'assistant', content: 'I look.' }, { type: 'reasoning' }, call('a'), call('b'), result('a'), result('b')]; // prettier-ignore
    const tool_calls = ['a', 'b'].map((name) => ({ id: `call_${name}`, type: 'function', function: { name, arguments: '{}' } })); // prettier-ignore
    const turns = [
      user,
      { role: 'assistant', content: 'I look.', tool_calls },
      ...['a', 'b'].map((name) => ({ role: 'tool', tool_call_id: `call_${name}`, content: 'rain' })),
    ];
    const limits = { max_tokens: 8 };
    const chat = await json('/v1/chat/completions', { messages: turns, tools, ...limits });
    const flat = tools.map(({ function: named, type }) => ({ type, ...named }));
    const items8 = await json('/v1/responses', { input: items, tools: flat, max_output_tokens: 8 });
    expect(items8.usage.input_tokens).toBe(chat.usage.prompt_tokens);
    expect(items8.output[0].content[0].text).toBe(chat.choices[0].message.content);
  });

  test('that has begun goes on', async () => {
    const begun = { role: 'assistant', content: '{"name":' };
    expect(await templated([user, begun], { continue_final_message: true })).toBe((await templated([user])) + '{"name":'); // prettier-ignore
    const expected = (await ask('/completion', { prompt: (await templated([user])) + '{"name":', n_predict: 6 })).content; // prettier-ignore
    const anthropic = await json('/v1/messages', { messages: [user, begun], max_tokens: 6 });
    expect(anthropic.content).toEqual([{ type: 'text', text: expected }]);
    const ollama = await json('/api/chat', { messages: [user, begun], stream: false, options: { num_predict: 6 } });
    expect(ollama.message.content).toBe(expected);
    const openAi = { messages: [user, begun], max_tokens: 6 };
    const goesOn = await json('/v1/chat/completions', { ...openAi, continue_final_message: true });
    expect(goesOn.choices[0].message.content).toBe(expected);
    // As OpenAI has it, the next turn follows.
    expect(await templated([user, begun])).toBe('// user: weather?\n// assistant: {"name":\n');
    const refused = await json('/v1/chat/completions', { messages: [begun, user], continue_final_message: true });
    expect(refused.error.message).toMatch(/the last of several messages must be a text of the assistant/);
  });

  test('has one call if the client takes no more', () => {
    const [first, second] = ['a', 'b'].map((name) => `<tool_call>\n{"name": "${name}", "arguments": {}}\n</tool_call>`);
    const read = callReader([{ name: 'a', parameters: {} }, { name: 'b', parameters: {} }], 1); // prettier-ignore
    expect(read.push(`${first!}\n${second!}`)).toBe('');
    expect(read.end().calls.map(({ name }) => name)).toEqual(['a']);
  });

  test('says what of calls side by side was asked for', async () => {
    const input = { input: 'x', max_output_tokens: 1 };
    expect(await json('/v1/responses', { ...input, parallel_tool_calls: false })).toMatchObject({ parallel_tool_calls: false }); // prettier-ignore
    expect(await json('/v1/responses', input)).toMatchObject({ parallel_tool_calls: true });
  });
});

test('values without effect elsewhere have none here', async () => {
  const body = { prompt: 'let a = ', max_tokens: 6, temperature: 1, seed: 3 };
  const textOf = async (more: object): Promise<string> =>
    (await ask('/v1/completions', { ...body, ...more })).choices[0]!.text;
  expect(await textOf({ top_k: -1 })).toBe(await textOf({ top_k: 0 }));
  expect(await textOf({ top_p: 0 })).toBe(await textOf({ temperature: 0 }));
  expect(await textOf({ seed: 2 ** 40 + 3 })).toBe(await textOf({}));
  const random = await Promise.all([1, 2, 3].map(() => textOf({ seed: 2 ** 32 - 1, max_tokens: 16 })));
  expect(new Set(random).size).toBeGreaterThan(1);
  const limited = { messages: [{ role: 'user', content: 'x' }], stream: false };
  const unlimited = await json('/api/chat', { ...limited, options: { num_predict: 0, stop: ['\n'] } });
  expect(unlimited.eval_count).toBeGreaterThan(0);
  const list = await json('/v1/completions', { ...body, prompt: ['a', 'b'], suffix: '' });
  expect(list.choices).toHaveLength(2);
});

test('fields that are only shown again are refused before a text is written', async () => {
  for (const [path, body] of [
    ['/v1/responses', { input: 'x', metadata: 'no object', stream: true }],
    ['/v1/responses', { input: 'x', text: 'no object', stream: true }],
    ['/completion', { prompt: 'x', return_tokens: 1, stream: true }],
  ] as const)
    expect([path, (await post(path, body)).status]).toEqual([path, 400]);
});

test('a text that is too long for a vector is cut off, as Ollama does, or refused', async () => {
  const input = ['let a = 1;\n'.repeat(2000), 'let a = 1;\n'];
  const { embeddings, prompt_eval_count } = await json('/api/embed', { input });
  expect(embeddings).toHaveLength(2);
  expect(prompt_eval_count).toBeGreaterThan(400);
  expect((await json('/api/embed', { input, truncate: false })).error).toMatch(/prompt has at least/);
  expect((await json('/v1/embeddings', { input })).error.message).toMatch(/prompt has at least/);
});

test('a prompt’s time is without its wait', async () => {
  const body = { prompt: 'export const a = 1;\n'.repeat(8), n_predict: 60, stop: ['never so'] };
  const all = await Promise.all(Array.from({ length: 6 }, (_, i) => ask('/completion', { ...body, prompt: `${i} ${body.prompt}` }))); // prettier-ignore
  const { timings } = all[5] as unknown as { timings: { prompt_ms: number; predicted_ms: number } };
  expect(timings.prompt_ms).toBeGreaterThan(0);
  expect(timings.prompt_ms).toBeLessThan(timings.predicted_ms);
});
