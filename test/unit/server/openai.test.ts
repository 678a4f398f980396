/** OpenAI's own client against the server: what it sends is taken, what it is given it understands. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI, { APIUserAbortError, BadRequestError, NotFoundError } from 'openai';
import { afterAll, expect, test } from 'vitest';
import { metric, servedFiles, serveHere } from '../../support/served.ts';

const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
const server = await serveHere(await servedFiles(folder), { parallel: 4 });
await server.loaded;
const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

const model = 'served-model';

test('lists the model', async () => {
  expect((await client.models.list()).data.map(({ id }) => id)).toEqual([model]);
});

test('completes, whole and as a stream with usage', async () => {
  const request = { model, prompt: 'export function ', max_tokens: 10, logprobs: 2 };
  const whole = await client.completions.create(request);
  const stream = await client.completions.create({ ...request, stream: true, stream_options: { include_usage: true } });
  let text = '';
  let usage: OpenAI.CompletionUsage | null | undefined;
  for await (const piece of stream) {
    text += piece.choices[0]?.text ?? '';
    usage = piece.usage ?? usage;
  }
  expect(text).toBe(whole.choices[0]!.text);
  expect(usage?.completion_tokens).toBe(10);
  expect(whole.choices[0]!.logprobs?.tokens?.join('')).toBe(text);
});

test('chats, whole and as a stream', async () => {
  const request = { model, messages: [{ role: 'user' as const, content: 'add' }], max_completion_tokens: 8, seed: 1 };
  const whole = await client.chat.completions.create({ ...request, logprobs: true, top_logprobs: 2 });
  expect(whole.choices[0]!.message.role).toBe('assistant');
  expect(whole.choices[0]!.logprobs?.content).toHaveLength(8);
  const stream = await client.chat.completions.create({ ...request, stream: true });
  let [text, role, reason] = ['', '', ''];
  for await (const { choices } of stream) {
    text += choices[0]?.delta.content ?? '';
    role ||= choices[0]?.delta.role ?? '';
    reason = choices[0]?.finish_reason ?? reason;
  }
  expect([text, role, reason]).toEqual([whole.choices[0]!.message.content, 'assistant', 'length']);
});

test('knows its errors by their kind', async () => {
  await expect(client.completions.create({ model: 'other', prompt: 'x' })).rejects.toBeInstanceOf(NotFoundError);
  const long = client.completions.create({ model, prompt: Array<number>(600).fill(5) });
  await expect(long).rejects.toBeInstanceOf(BadRequestError);
  await expect(long).rejects.toThrow('The prompt has 600 tokens, but the model sees 512.');
});

test('many come, some hang up, and each that stays gets its own text', async () => {
  const prompts = Array.from({ length: 40 }, (_, i) => `const value${i} = `);
  const request = { model, max_tokens: 12, temperature: 1, seed: 7 };
  const alone = new Map<number, string>();
  for (const i of [0, 13, 39])
    alone.set(i, (await client.completions.create({ ...request, prompt: prompts[i]! })).choices[0]!.text);
  const answers = await Promise.all(
    prompts.map(async (prompt, i) => {
      const gone = new AbortController();
      if (i % 4 === 1 && i !== 13) setTimeout(() => gone.abort(), 20 * (i % 11));
      try {
        const answer = await client.completions.create({ ...request, prompt }, { signal: gone.signal });
        return answer.choices[0]!.text;
      } catch (error) {
        expect(error).toBeInstanceOf(APIUserAbortError);
        return null;
      }
    }),
  );
  expect(answers.filter((text) => text !== null).length).toBeGreaterThanOrEqual(30);
  for (const [i, text] of alone) expect(answers[i]).toBe(text);
  // Nothing of those who left goes on.
  await client.completions.create({ ...request, prompt: 'x', max_tokens: 1 });
  expect(await metric(server.url, 'texts_open')).toBe(0);
  expect(server.defects).toEqual([]);
});

test('items, vectors, schemas, calls and the model by its name', async () => {
  expect((await client.models.retrieve(model)).id).toBe(model);
  const response = await client.responses.create({ model, input: 'add', max_output_tokens: 8 });
  expect(response.output_text.length).toBeGreaterThan(0);
  let streamed = '';
  for await (const event of await client.responses.create({ model, input: 'add', max_output_tokens: 8, stream: true }))
    if (event.type === 'response.output_text.delta') streamed += event.delta;
  expect(streamed).toBe(response.output_text);
  // The client asks for base64 and gives numbers.
  const { data } = await client.embeddings.create({ model, input: ['a', 'b'] });
  expect(data.map(({ embedding }) => embedding.length)).toEqual([192, 192]);
  const schema = {
    type: 'object',
    properties: { age: { type: 'integer', minimum: 0, maximum: 99 } },
    required: ['age'],
  };
  const messages = [{ role: 'user' as const, content: 'add' }];
  const fits = await client.chat.completions.parse({ model, messages, max_tokens: 100, response_format: { type: 'json_schema', json_schema: { name: 'age', schema } } }); // prettier-ignore
  expect(Object.keys(JSON.parse(fits.choices[0]!.message.content!) as object)).toEqual(['age']);
  const tools = [{ type: 'function' as const, function: { name: 'add', parameters: schema } }];
  const stream = client.chat.completions.stream({ model, messages, max_tokens: 150, tools, tool_choice: 'required' });
  const [call] = (await stream.finalMessage()).tool_calls!;
  expect(call).toMatchObject({ type: 'function', function: { name: 'add' } });
});
