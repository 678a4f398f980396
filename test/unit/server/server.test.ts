/** The server as its clients meet it: answers against what the command line gives, and who is refused. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { gapPrompt } from '../../../backend/data/prompts/gap-prompt.ts';
import { openModel } from '../../../backend/model/open.ts';
import { generate } from '../../../backend/recipes/generate.ts';
import { closeGenerators } from '../../../backend/recipes/opening/generator.ts';
import { readJson } from '../../../backend/server/http/body.ts';
import { startServing } from '../../../backend/server/serve.ts';
import { openExitScorer, openFeatureModel } from '../../../backend/runtime/open.ts';
import { finalCut } from '../../../backend/model/spec.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import type { TokenRecord } from '../../../protocol/trace.ts';
import { clientOf, metric, servedFiles, serveHere, type Answer } from '../../support/served.ts';

const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
const place = await servedFiles(folder);
const tokenizer = loadTokenizer(place.model);
const server = await serveHere(place, { parallel: 4 });
const early = await fetch(`${server.url}/health`);
await server.loaded;
afterAll(async () => {
  await server.close();
  await closeGenerators();
  rmSync(folder, { recursive: true });
});

const { post, ask } = clientOf(server.url);

/** What the command line's `generate` says. */
async function alone(prompt: string, given: Record<string, unknown>): Promise<{ text: string; tokens: TokenRecord[] }> {
  const options = parseOptions('generate', {
    ...place,
    device: 'cpu',
    prompt: [prompt],
    stopRepetition: false,
    ...given,
  });
  const tokens: TokenRecord[] = [];
  for await (const event of generate(options, new AbortController().signal)) {
    if (event.type === 'token') tokens.push(event.token);
    if (event.type === 'generated') return { text: event.texts[0]!, tokens };
  }
  throw new Error('nothing was generated');
}

test('says that it loads, then that it is well', async () => {
  expect(early.status).toBe(503);
  expect(await early.json()).toEqual({ status: 'loading model' });
  expect(await (await fetch(`${server.url}/health`)).json()).toEqual({ status: 'ok' });
  const { data } = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: { id: string }[] };
  expect(data.map(({ id }) => id)).toEqual(['served-model']);
});

test('many clients at once, each in its own way, are given what each would get alone', async () => {
  const ways: [Record<string, unknown>, Record<string, unknown>][] = [
    [{}, {}],
    [{ early_exit: { mode: 'full' } }, { mode: 'full' }],
    [{ early_exit: { mode: 'fast', threshold: 0.3 } }, { mode: 'fast', threshold: 0.3 }],
    [
      { early_exit: { mode: 'fast', threshold: 0.2, exits: ['8:lens'] } },
      { mode: 'fast', threshold: 0.2, disable: ['4'] },
    ],
    [
      { temperature: 0.8, top_p: 0.9, seed: 11 },
      { temperature: 0.8, topP: 0.9, seed: 11 },
    ],
    [{ stop: [';', '}'] }, { stop: [';', '}'] }],
  ];
  const prompts = ['export function parse(', 'const x = ', 'export function parse(text: string) {\n  return '];
  const requests = prompts.flatMap((prompt) => ways.map(([body, options]) => ({ prompt, body, options })));
  const answers = await Promise.all(
    requests.map(({ prompt, body }) =>
      ask('/v1/completions', { prompt, max_tokens: 12, ...body, early_exit: body['early_exit'] ?? true }),
    ),
  );
  let early = 0;
  for (const [i, { prompt, options }] of requests.entries()) {
    const { text, tokens } = await alone(prompt, { maxTokens: 12, ...options });
    const [choice] = answers[i]!.choices;
    expect(choice!.text).toBe(text);
    const left = choice!.early_exit.tokens;
    expect(left.map(({ id, exit, layer }) => [id, exit, layer])).toEqual(
      tokens.map(({ id, exit, layer }) => [id, exit, layer]),
    );
    early += left.filter(({ exit }) => exit !== 'final').length;
  }
  expect(early).toBeGreaterThan(20);
}, 120_000);

test('a stream is the whole text in pieces, with usage at the end where it is asked for', async () => {
  const body = { prompt: ['let a = ', 'class B'], max_tokens: 12, n: 2, temperature: 1, seed: 3 };
  const whole = await ask('/v1/completions', body);
  const response = await post('/v1/completions', { ...body, stream: true, stream_options: { include_usage: true } });
  expect(response.headers.get('content-type')).toMatch('text/event-stream');
  const lines = (await response.text())
    .trim()
    .split('\n\n')
    .map((line) => line.replace('data: ', ''));
  expect(lines.pop()).toBe('[DONE]');
  const pieces = lines.map((line) => JSON.parse(line) as Answer);
  const usage = pieces.pop()!;
  expect(usage.choices).toEqual([]);
  expect(usage.usage).toMatchObject({ completion_tokens: whole.usage.completion_tokens });
  const texts = whole.choices.map(() => '');
  const reasons = new Map<number, string>();
  for (const { choices } of pieces)
    for (const choice of choices) {
      texts[choice.index] += choice.text;
      if (choice.finish_reason) reasons.set(choice.index, choice.finish_reason);
    }
  expect(texts).toEqual(whole.choices.map(({ text }) => text));
  expect(reasons.size).toBe(4);
  // Two of one prompt differ, as their seeds do.
  expect(new Set(texts).size).toBe(4);
});

test('log probabilities of a prompt are what evaluate makes of it, and stand where their text stands', async () => {
  const text = 'export const ä = (value: string): number => value.length; // 🫠🦊 of\n';
  const ids = tokenizer.encode(text);
  // With activations of 32 bits both are one number; rounded to 8, a last bit can become a hundredth.
  const exact = await serveHere(place, { precision: 'exact' });
  await exact.loaded;
  const body = { prompt: ids, max_tokens: 1, echo: true, logprobs: 2 };
  const { choices } = (await (await post('/v1/completions', body, {}, exact.url)).json()) as Answer;
  const stream = await (await post('/v1/completions', { ...body, stream: true }, {}, exact.url)).text();
  await exact.close();
  const { logprobs, text: echoed } = choices[0]!;
  const pieces = [...stream.matchAll(/^data: (\{.*)$/gm)].map(([, piece]) => JSON.parse(piece!) as Answer);
  expect(pieces.flatMap((piece) => piece.choices[0]!.logprobs.text_offset)).toEqual(logprobs.text_offset);
  expect(echoed.startsWith(text)).toBe(true);
  expect(logprobs.tokens).toHaveLength(ids.length + 1);
  expect([logprobs.token_logprobs[0], logprobs.top_logprobs[0]]).toEqual([null, null]);
  for (const [i, offset] of logprobs.text_offset.slice(0, -1).entries())
    // In code points.
    expect(offset).toBe([...tokenizer.decode(ids.slice(0, i)).replace(/\ufffd+$/, '')].length);
  const model = openModel(place.model);
  const backbone = await openFeatureModel(model, [finalCut(model.spec)]);
  const scorer = await openExitScorer(model, null);
  const [states] = await backbone.features(Int32Array.from(ids), 1, ids.length);
  const { loss } = await scorer.score(states!, [...ids.slice(1), 0], 1, ids.length);
  for (let i = 1; i < ids.length; i++) expect(logprobs.token_logprobs[i]).toBeCloseTo(-loss[i - 1]!, 3);
  for (const each of [backbone, scorer]) await each.dispose();
  model.close();
});

test('an end of the text is scored behind a prompt as any other token is', async () => {
  const body = { prompt: 'export const value = ', max_tokens: 1, echo: true, logprobs: 1 };
  const { logprobs: before } = (await ask('/v1/completions', body)).choices[0]!;
  // The same model, whose next token is one that ends texts.
  const model = join(folder, 'ending-model');
  cpSync(place.model, model, { recursive: true });
  const [next] = tokenizer.encode(before.tokens.at(-1)!, { addSpecial: false });
  writeFileSync(join(model, 'generation_config.json'), JSON.stringify({ eos_token_id: next }));
  const ending = await serveHere({ ...place, model });
  await ending.loaded;
  const { choices, usage } = (await (await post('/v1/completions', body, {}, ending.url)).json()) as Answer;
  expect(choices[0]).toMatchObject({ text: body.prompt, finish_reason: 'stop' });
  expect(choices[0]!.logprobs.token_logprobs).toEqual(before.token_logprobs);
  expect(choices[0]!.logprobs.tokens).toEqual(before.tokens);
  expect(usage.completion_tokens).toBe(1);
  // Who does not ask for scores sees no such token.
  const plain = { prompt: body.prompt, max_tokens: 1 };
  const answer = (await (await post('/v1/completions', plain, {}, ending.url)).json()) as Answer;
  expect(answer).toMatchObject({ choices: [{ text: '', finish_reason: 'stop' }], usage: { completion_tokens: 0 } });
  await ending.close();
});

test('chats go through the template with their tools, gaps through the tokens for them', async () => {
  const messages = [{ role: 'user', content: [{ type: 'text', text: 'sum' }] }];
  const tools = [{ type: 'function' }];
  const { prompt } = await ask('/apply-template', { messages, tools });
  expect(prompt).toBe('// user: sum\n// tools: 1\n');
  const chat_template_kwargs = { thinks: false, messages: [] };
  const rendered = await ask('/apply-template', { messages, tools, tool_choice: 'auto', chat_template_kwargs });
  expect(rendered.prompt).toBe(`${prompt}// thinks: false\n`);
  const chat = await ask('/v1/chat/completions', { messages, tools, max_tokens: 8 });
  const plain = await ask('/v1/completions', { prompt, max_tokens: 8 });
  expect(chat.choices[0]!.message.content).toBe(plain.choices[0]!.text);
  const gap = { prefix: 'const a = ', suffix: ';\n' };
  const limits = { prefixTokens: 100, suffixTokens: 100, chunkTokens: 0, maxTokens: 8 };
  const { ids, begun } = gapPrompt(tokenizer, gap, limits, 512);
  const filled = await ask('/infill', { input_prefix: gap.prefix, input_suffix: gap.suffix, n_predict: 8 });
  // The blank before the gap belongs to the first written token.
  const blank = Buffer.from(begun!.bytes).toString();
  expect(blank + filled.content).toBe((await ask('/completion', { prompt: ids, n_predict: 8 })).content);
  const split = await ask('/infill', { input_prefix: 'const ', prompt: 'a = ', input_suffix: ';\n', n_predict: 8 });
  expect(split.content).toBe(filled.content);
  const suffixed = await ask('/v1/completions', { prompt: gap.prefix, suffix: gap.suffix, max_tokens: 8 });
  expect(suffixed.choices[0]!.text).toBe(filled.content);
});

test('of what surrounds a gap as much counts as there is room for', async () => {
  const input_extra = [{ filename: 'a.ts', text: 'export const value = 1;\n'.repeat(300) }];
  const gap = { input_prefix: 'let sum = 0;\n'.repeat(300), input_suffix: 'return sum;\n'.repeat(300) };
  for (const n_predict of [0, 1, 40, 100_000])
    for (const body of [gap, { ...gap, input_extra }]) {
      const filled = await ask('/infill', { ...body, n_predict });
      expect(filled.error).toBeUndefined();
      expect(filled.tokens_evaluated).toBeGreaterThan(200);
    }
});

test('a prompt that ends inside a word goes on with it, and who counts tokens or their probabilities gets it as it is', async () => {
  const prompt = 'export function add(left: number, right: number) {\n  return lef';
  const ids = tokenizer.encode(prompt);
  const healed = tokenizer.heal(ids);
  expect(healed.ids.length).toBeLessThan(ids.length);
  const text = async (body: object): Promise<string> =>
    (await ask('/v1/completions', { max_tokens: 6, ...body })).choices[0]!.text;
  const asItIs = await text({ prompt: ids });
  const whole = await text({ prompt });
  expect(whole).not.toBe(asItIs);
  expect(whole).toMatch(/^t\b/);
  expect((await ask('/completion', { prompt, n_predict: 6 })).content).toBe(whole);
  expect(await text({ prompt, early_exit: { token_healing: false } })).toBe(asItIs);
  expect(await text({ prompt, logprobs: 1 })).toBe(asItIs);
  expect(await text({ prompt, echo: true })).toBe(prompt + asItIs);
  expect((await ask('/completion', { prompt, n_predict: 6, n_probs: 1 })).content).toBe(asItIs);
  const { usage } = await ask('/v1/completions', { prompt, max_tokens: 6 });
  expect(usage).toMatchObject({ prompt_tokens: ids.length, completion_tokens: 6 });
});

test('text becomes tokens and back', async () => {
  const { tokens } = await ask('/tokenize', { content: 'const x <|fim_prefix|>' });
  expect(tokens).toEqual(tokenizer.encode('const x <|fim_prefix|>', { addSpecial: false }));
  expect(await ask('/detokenize', { tokens })).toEqual({ content: 'const x <|fim_prefix|>' });
  const plain = await ask('/tokenize', { content: 'const x <|fim_prefix|>', parse_special: false });
  expect(plain.tokens).toEqual(tokenizer.encodePlain('const x <|fim_prefix|>'));
});

test('a conversation that goes on is not read from the beginning', async () => {
  const prompt = 'export interface Point {\n  readonly x: number;\n  readonly y: number;\n}\n';
  const first = await ask('/v1/completions', { prompt, max_tokens: 8 });
  const next = await ask('/v1/completions', { prompt: prompt + first.choices[0]!.text, max_tokens: 2 });
  expect(next.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(first.usage.prompt_tokens);
});

describe('refused with a sentence', () => {
  test.each<[string, unknown, number, RegExp]>([
    ['/v1/completions', '{', 400, /no JSON/],
    ['/v1/completions', '[]', 400, /must be a JSON object/],
    ['/v1/completions', '"\ud800"', 400, /must be a JSON object/],
    ['/v1/completions', {}, 400, /^prompt must be .*, not nothing/],
    ['/v1/completions', { prompt: [] }, 400, /prompt must be/],
    ['/v1/completions', { prompt: ['a', 1] }, 400, /prompt must be/],
    ['/v1/completions', { prompt: [4096] }, 400, /There is no token 4096: the model has 4096/],
    ['/v1/completions', { prompt: '' }, 400, /The prompt is empty/],
    ['/v1/completions', { prompt: Array(2001).fill(5) }, 400, /The prompt has 2,001 tokens, but the model sees 512/],
    ['/v1/completions', { prompt: 'x', model: 'gpt-9' }, 404, /There is no model "gpt-9" here, but served-model/],
    ['/v1/completions', { prompt: 'x', max_tokens: 0 }, 400, /max_tokens must be a whole number from 1/],
    ['/v1/completions', { prompt: 'x', temperature: 'hot' }, 400, /temperature must be a number .*, not "hot"/],
    ['/v1/completions', { prompt: 'x', logprobs: 6 }, 400, /logprobs must be a whole number from 0 to 5/],
    ['/v1/completions', { prompt: 'x', early_exit: { mode: 'hasty' } }, 400, /mode must be one of/],
    [
      '/v1/completions',
      { prompt: 'x', early_exit: { treshold: 0 } },
      400,
      /field "treshold".*Did you mean threshold\?/,
    ],
    [
      '/completion',
      { prompt: 'x', early_exit: { colour: 'red' } },
      400,
      /field "colour".*Its fields are mode, policy,/,
    ],
    ['/v1/completions', { prompt: 'x', early_exit: { exits: ['9:mlp'] } }, 400, /no exit "9:mlp".*4:norm, 8:lens/],
    ['/v1/completions', { prompt: Array(200).fill('x'), n: 9 }, 400, /may ask for 1024 texts, not 1800/],
    ['/v1/chat/completions', { messages: [] }, 400, /messages must be a list/],
    [
      '/v1/chat/completions',
      { messages: [{ role: 'user', content: [{ type: 'image_url' }] }] },
      400,
      /parts of type text/,
    ],
    ['/v1/chat/completions', { messages: [{ content: 'x' }] }, 400, /messages\[0\]\.role must be a text/],
    ['/infill', { input_prefix: 'x' }, 400, /input_suffix must be a text/],
    ['/completion', { prompt: 'x', logit_bias: [[5, 101]] }, 400, /logit_bias must be .*, from −100 to 100, not/],
    ['/v1/completions', { prompt: 'x', logit_bias: { 9999: 1 } }, 400, /logit_bias must be/],
    ['/v1/completions', { prompt: 'x', presence_penalty: 3 }, 400, /presence_penalty must be a number from -2 to 2/],
    ['/v1/completions', { prompt: 'x', temperature: 2.5 }, 400, /temperature must be a number from 0 to 2, not 2.5/],
    ['/completion', { prompt: ['x', 5] }, 400, /prompt must be a text, token ids, or a list of either/],
    ['/completion', { prompt: 'x', n_predict: -2 }, 400, /n_predict must be a whole number/],
    [
      '/v1/chat/completions',
      { messages: [{ role: 'user', content: 'x' }], tool_choice: 'required' },
      400,
      /tool_choice needs tools/,
    ],
    [
      '/v1/chat/completions',
      { messages: [{ role: 'user', content: 'x' }], chat_template_kwargs: [] },
      400,
      /chat_template_kwargs must be an object/,
    ],
    ['/detokenize', { tokens: [-1] }, 400, /tokens must be token ids/],
    ['/nowhere', {}, 404, /There is no \/nowhere here/],
    ['/health', {}, 405, /takes GET requests/],
  ])('%s %o', async (path, body, status, message) => {
    const response = await post(path, body);
    expect(response.status).toBe(status);
    const { error } = (await response.json()) as Answer;
    expect(error.message).toMatch(message);
    expect(error.message).not.toMatch(/\n|at .*\.ts/);
  });

  test('a body that is too large, before all of it has come', async () => {
    const response = await post('/v1/completions', { prompt: 'x'.repeat(5_000_000) }).catch((error: Error) => error);
    // Node closes the socket while the client may still write.
    if (response instanceof Response) expect(response.status).toBe(413);
  });

  test.each([{ ignore_eos: true }, { mirostat: 2 }])('%o, wherever text is asked for', async (asked) => {
    const texts = { prompt: 'x', messages: [{ role: 'user', content: 'x' }], input_prefix: 'x', input_suffix: '' };
    for (const path of ['/v1/completions', '/v1/chat/completions', '/completion', '/infill']) {
      const response = await post(path, { ...texts, ...asked });
      expect([path, response.status]).toEqual([path, 400]);
      expect(((await response.json()) as Answer).error.message).toBe(
        `${Object.keys(asked)[0]} is not supported. Leave it out.`,
      );
    }
  });

  test.each([
    [{ Host: 'evil.example' }, /no address evil/],
    [{ Origin: 'https://evil.example' }, /Pages of https:\/\/evil.example may not ask/],
  ])('%o', async (headers, message) => {
    const { request } = await import('node:http');
    const text = await new Promise<string>((resolve, reject) => {
      const sent = request(`${server.url}/health`, { headers }, (response) => {
        let body = '';
        response.on('data', (chunk: Buffer) => (body += chunk.toString()));
        response.on('end', () => resolve(`${response.statusCode} ${body}`));
      });
      sent.on('error', reject);
      sent.end();
    });
    expect(text).toMatch(/^403/);
    expect(text).toMatch(message);
  });
});

test('a page of the server itself may send requests, and gets the headers that allow it', async () => {
  const response = await fetch(`${server.url}/health`, { headers: { origin: server.url } });
  expect([response.status, response.headers.get('access-control-allow-origin')]).toEqual([200, server.url]);
});

test('a page that may ask may send what headers its client has', async () => {
  const origin = 'http://page.example';
  const open = await serveHere(place, { origins: [origin] });
  const preflight = async (asked: Record<string, string>): Promise<[number, string | null]> => {
    const headers = { origin, 'access-control-request-method': 'POST', ...asked };
    const response = await fetch(`${open.url}/v1/chat/completions`, { method: 'OPTIONS', headers });
    return [response.status, response.headers.get('access-control-allow-headers')];
  };
  expect(await preflight({})).toEqual([204, 'authorization, content-type, x-api-key']);
  // As the openai package sends them.
  const names = 'authorization,content-type,x-stainless-arch,x-stainless-os';
  expect(await preflight({ 'access-control-request-headers': names })).toEqual([204, names]);
  await open.close();
});

test('a server that cannot begin leaves its port free', async () => {
  const first = await serveHere(place);
  await first.close();
  const port = Number(new URL(first.url).port);
  const hooks = {
    get onEvent(): () => void {
      throw new Error('no hook');
    },
    onDefect: () => {},
  };
  const options = parseOptions('serve', { ...place, port, device: 'cpu' });
  await expect(startServing(options, hooks)).rejects.toThrow('no hook');
  await (await serveHere(place, { port })).close();
});

test('a client that hangs up frees its row within a token', async () => {
  const one = await serveHere(place, { parallel: 1 });
  await one.loaded;
  const gone = new AbortController();
  const body = { prompt: 'let x = ', max_tokens: 400, stream: true, temperature: 1, seed: 1 };
  const response = await post('/v1/completions', body, { signal: gone.signal }, one.url);
  await response.body!.getReader().read();
  gone.abort();
  const next = await post('/v1/completions', { prompt: 'y', max_tokens: 2 }, {}, one.url);
  expect(next.status).toBe(200);
  expect(await metric(one.url, 'texts_left_total')).toBe(1);
  expect(await metric(one.url, 'texts_open')).toBe(0);
  // Far from the end when it was left.
  expect(await metric(one.url, 'written_tokens_total')).toBeLessThan(300);
  await one.close();
});

test('an upload that its client breaks off is no defect', async () => {
  const upload = new IncomingMessage(new Socket());
  const read = readJson(upload, 1000);
  upload.push('{"prompt": ');
  setImmediate(() => upload.destroy());
  await expect(read).rejects.toMatchObject({ code: 'cancelled' });
});

test('too many are refused for now, and a request that takes too long ends with what is written', async () => {
  const one = await serveHere(place, { parallel: 1, queue: 0, seconds: 1 });
  await one.loaded;
  // What the first request waits for is not its time to write: on a busy machine that may be all of it.
  await post('/v1/completions', { prompt: 'x', max_tokens: 1 }, {}, one.url);
  const long = post('/v1/completions', { prompt: 'x', max_tokens: 500, temperature: 1, seed: 2, n: 60 }, {}, one.url);
  await setTimeout(300);
  const refused = await post('/v1/completions', { prompt: 'y' }, {}, one.url);
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
  const { choices } = (await (await long).json()) as Answer;
  expect(choices).toHaveLength(60);
  expect(choices.at(-1)!.finish_reason).toBe('length');
  await one.close();
}, 60_000);

test('a key is asked for where there is one, and must be given where others can reach', async () => {
  process.env['EARLY_EXIT_KEY'] = 'secret';
  const locked = await serveHere(place, { host: '0.0.0.0' });
  delete process.env['EARLY_EXIT_KEY'];
  await locked.loaded;
  const url = locked.url.replace('0.0.0.0', '127.0.0.1');
  const status = async (path: string, headers: Record<string, string>) =>
    (await fetch(`${url}${path}`, { headers })).status;
  expect(await status('/v1/models', {})).toBe(401);
  expect(await status('/v1/models', { authorization: 'Bearer secret2' })).toBe(401);
  expect(await status('/v1/models', { authorization: 'Bearer secret' })).toBe(200);
  expect(await status('/health', {})).toBe(200);
  expect(await status('/metrics', {})).toBe(401);
  await locked.close();
  await expect(serveHere(place, { host: '0.0.0.0' })).rejects.toThrow(
    'Others reach 0.0.0.0, so clients there need a key.',
  );
});

test('closing ends streams and the thread, and nothing failed', async () => {
  const one = await serveHere(place, { parallel: 2 });
  await one.loaded;
  const response = await post('/v1/completions', { prompt: 'x', max_tokens: 500, stream: true }, {}, one.url);
  await response.body!.getReader().read();
  await one.close();
  await one.finished;
  await expect(fetch(one.url)).rejects.toThrow();
  expect([one.defects, server.defects]).toEqual([[], []]);
});
