/** Structured answers and calls of functions, as clients ask for them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { callReader } from '../../../backend/server/apis/tools.ts';
import { clientOf, servedFiles, serveHere, type Answer } from '../../support/served.ts';

const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
const server = await serveHere(await servedFiles(folder), { parallel: 4 });
await server.loaded;
const { post, ask } = clientOf(server.url);
afterAll(async () => {
  expect(server.defects).toEqual([]);
  await server.close();
  rmSync(folder, { recursive: true });
});

const messages = [{ role: 'user', content: 'a person' }];
const schema = {
  type: 'object',
  properties: { name: { type: 'string', maxLength: 8 }, age: { type: 'integer', minimum: 0, maximum: 99 } },
  required: ['name', 'age'],
};
const isPerson = (text: string): void => {
  const value = JSON.parse(text) as { name: string; age: number };
  expect(Object.keys(value)).toEqual(['name', 'age']);
  expect(value.name.length).toBeLessThanOrEqual(8);
  expect(Number.isInteger(value.age) && value.age >= 0 && value.age <= 99).toBe(true);
};

describe('a text fits what is asked for', () => {
  const chats: [string, object][] = [
    [
      "OpenAI's json_schema",
      { response_format: { type: 'json_schema', json_schema: { name: 'a', strict: true, schema } } },
    ],
    ["llama.cpp's response_format", { response_format: { type: 'json_object', schema } }],
    ["llama.cpp's json_schema", { json_schema: schema }],
  ];
  test.each(chats)('%s', async (_, request) => {
    for (const more of [{}, { temperature: 1, seed: 3 }, { early_exit: { mode: 'fast', threshold: 0 } }]) {
      const { choices } = await ask('/v1/chat/completions', { messages, max_tokens: 60, ...request, ...more });
      isPerson(choices[0]!.message.content);
      expect(choices[0]!.finish_reason).toBe('stop');
    }
    const { content } = await ask('/completion', { prompt: 'x = ', n_predict: 60, ...request });
    isPerson(content);
  });

  test('a grammar, whole and as a stream, several at once', async () => {
    const grammar = 'root ::= ("yes" | "no") "!"{2,4}';
    const all = await ask('/v1/completions', { prompt: ['a ', 'b'], n: 2, max_tokens: 9, temperature: 1, grammar });
    for (const { text } of all.choices) expect(text).toMatch(/^(yes|no)!{2,4}$/);
    const stream = await (
      await post('/infill', { input_prefix: 'x', input_suffix: 'y', grammar, stream: true })
    ).text();
    const text = [...stream.matchAll(/^data: (\{.*)$/gm)].map(([, piece]) => (JSON.parse(piece!) as Answer).content);
    expect(text.join('')).toMatch(/^(yes|no)!{2,4}$/);
  });

  test('any object, which may be cut off', async () => {
    const request = { response_format: { type: 'json_object' }, max_tokens: 30 };
    const { choices } = await ask('/v1/chat/completions', { messages, ...request });
    expect(choices[0]!.message.content).toMatch(/^\{/);
    if (choices[0]!.finish_reason === 'stop') JSON.parse(choices[0]!.message.content);
  });

  test.each<[object, RegExp]>([
    [{ grammar: 'root ::= ' + '"a' }, /The grammar cannot be used: line 1/],
    [{ grammar: `root ::= "${'a'.repeat(300_000)}"` }, /longer than 262144 characters/],
    [{ grammar: 'root ::= root "a" | "b"' }, /begins with itself/],
    [{ json_schema: { not: {} } }, /no grammar keeps not/],
    [{ json_schema: 5 }, /json_schema must be a JSON schema, not 5/],
    [{ response_format: { type: 'xml' } }, /response_format.type must be text, json_object or json_schema/],
    [{ grammar: 'root ::= "a"', json_schema: {} }, /exclude each other/],
  ])('%o is refused before anything is sent', async (request, message) => {
    const body = { messages, prompt: 'x', stream: true, ...request };
    for (const path of ['/v1/chat/completions', '/completion']) {
      const response = await post(path, body);
      expect(response.status).toBe(400);
      expect(((await response.json()) as Answer).error.message).toMatch(message);
    }
  });
});

describe('calls', () => {
  const tools = [
    { type: 'function', function: { name: 'weather', parameters: { type: 'object', properties: { city: { $ref: '#/$defs/city' } }, required: ['city'], $defs: { city: { enum: ['Rome', 'Oslo'] } } } } }, // prettier-ignore
    { type: 'function', function: { name: 'now', parameters: {} } },
  ];
  interface Called {
    choices: { finish_reason: string | null; message: Message; delta: Message }[];
  }
  interface Message {
    content: string | null;
    tool_calls?: { id: string; index?: number; type: string; function: { name: string; arguments: string } }[];
  }
  const named = { type: 'function', function: { name: 'weather' } };

  test.each([['required'], [named]])('tool_choice %o calls, whole and as a stream', async (tool_choice) => {
    const body = { messages, tools, tool_choice, max_tokens: 80 };
    const { choices } = (await ask('/v1/chat/completions', body)) as unknown as Called;
    const { message, finish_reason } = choices[0]!;
    expect([message.content, finish_reason]).toEqual([null, 'tool_calls']);
    const [call] = message.tool_calls!;
    expect(call).toMatchObject({ type: 'function' });
    expect(call!.id).toMatch(/^call_\w+$/);
    if (tool_choice !== 'required') expect(call!.function.name).toBe('weather');
    if (call!.function.name === 'weather')
      expect(['Rome', 'Oslo']).toContain((JSON.parse(call!.function.arguments) as { city: string }).city);
    const stream = await (await post('/v1/chat/completions', { ...body, stream: true })).text();
    const pieces = [...stream.matchAll(/^data: (\{.*)$/gm)].map(
      ([, piece]) => (JSON.parse(piece!) as Called).choices[0]!,
    );
    expect(pieces.flatMap(({ delta }) => delta.tool_calls ?? [])).toMatchObject([
      { index: 0, function: call!.function },
    ]);
    expect(pieces.map(({ delta }) => delta.content ?? '').join('')).toBe('');
    expect(pieces.at(-1)!.finish_reason).toBe('tool_calls');
  });

  test.each<[unknown, RegExp]>([
    ['always', /tool_choice must be auto, none, required or a function/],
    [{ type: 'function', function: { name: 'other' } }, /tool_choice must be the name of one of the tools/],
  ])('tool_choice %o is refused', async (tool_choice, message) => {
    expect((await ask('/v1/chat/completions', { messages, tools, tool_choice })).error.message).toMatch(message);
    expect((await ask('/v1/chat/completions', { messages, tool_choice: 'required' })).error.message).toMatch(
      /needs tools/,
    );
  });

  const known = [
    { name: 'now', parameters: {} },
    { name: 'add', parameters: {} },
  ];
  const read = (pieces: readonly string[]): { shown: string; calls: unknown } => {
    const reader = callReader(known);
    const shown = pieces.map((piece) => reader.push(piece)).join('');
    const { text, calls } = reader.end();
    return { shown: shown + text, calls: calls.map((call) => [call.name, call.arguments]) };
  };
  test.each<[string, string, unknown]>([
    ['<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>', '', [['now', '{}']]],
    ['Let me see.\n<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>\n<tool_call>{"name":"now"}</tool_call>', 'Let me see.\n', [['add', '{"a":1}'], ['now', '{}']]], // prettier-ignore
    ['```json\n{"name": "add", "arguments": {"a": 1}}\n```', '', [['add', '{"a":1}']]],
    ['```json\n{"name": "add", "arguments": {"a": "```ts\\n\\"1\\"\\n```"}}\n```\nIt is "so".', '', [['add', '{"a":"```ts\\n\\"1\\"\\n```"}']]], // prettier-ignore
    ['{"name": "add", "arguments": {"a": "</tools>```"}}', '', [['add', '{"a":"</tools>```"}']]],
    ['<tools>\n{"name": "now", "parameters": {}}\n</tools>', '', [['now', '{}']]],
    ['{"name": "now", "arguments": "{}"}', '', [['now', '{}']]],
    ['{"name": "now", "arguments": "Rome"}', '{"name": "now", "arguments": "Rome"}', []],
    ['{"name": "now", "arguments": "[1]"}', '{"name": "now", "arguments": "[1]"}', []],
    ['[{"name": "now", "arguments": {}}, {"name": "add", "arguments": {}}]', '', [['now', '{}'], ['add', '{}']]], // prettier-ignore
    ['{"name": "other", "arguments": {}}', '{"name": "other", "arguments": {}}', []],
    ['{"name": "now"}\n{"name": "add", "arguments": {}}\n{"name": "no', '', [['now', '{}'], ['add', '{}']]], // prettier-ignore
    ['<tool_call>{"name": "now"}</tool_call>\n<tool_call>{"name": "add", "argu', '', [['now', '{}']]],
    ['[TOOL_CALLS] [{"name": "now", "arguments": {}}]', '', [['now', '{}']]],
    ['<|python_tag|>{"name": "now", "parameters": {}}', '', [['now', '{}']]],
    ['{"a": 1}', '{"a": 1}', []],
    ['```ts\nlet a;\n```', '```ts\nlet a;\n```', []],
    ['a < b, <tool', 'a < b, <tool', []],
    ['<tool_call>{"name": broken', '<tool_call>{"name": broken', []],
  ])('in %o', (text, shown, calls) => {
    expect(read([text])).toEqual({ shown, calls });
    expect(read([...text])).toEqual({ shown, calls });
  });

  test('what cannot be a call is shown at once', () => {
    const reader = callReader(known);
    expect(['```ts\n', 'let a', ' = 1;'].map((piece) => reader.push(piece)).join('')).toBe('```ts\nlet a = 1;');
    const other = callReader(known);
    expect(other.push('{"na')).toBe('');
    expect(other.push('tion": 1')).toBe('{"nation": 1');
  });

  test('what was called before goes to the template as an object', async () => {
    const called = { role: 'assistant', content: null, tool_calls: [{ id: 'a', type: 'function', function: { name: 'add', arguments: '{"a": 1}' } }] }; // prettier-ignore
    expect((await post('/v1/chat/completions', { messages: [...messages, called, { role: 'tool', tool_call_id: 'a', content: '2' }], max_tokens: 1 })).status).toBe(200); // prettier-ignore
  });
});
