/** What clients of OpenAI's or llama.cpp's kind ask for by habit: taken as they mean it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { clientOf, servedFiles, serveHere, type Answer } from '../../support/served.ts';

const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
const place = await servedFiles(folder);
const tokenizer = loadTokenizer(place.model);
const server = await serveHere(place, { parallel: 4 });
await server.loaded;
const { post, ask } = clientOf(server.url);
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

test('what an editor asks llama.cpp for, and its defaults, are taken', async () => {
  const sampling = { top_k: 40, top_p: 0.99, samplers: ['top_k', 'top_p', 'infill'], cache_prompt: true };
  const editor = {
    ...sampling,
    t_max_prompt_ms: 500,
    t_max_predict_ms: 60_000,
    n_indent: 4,
    stream: false,
    prompt: '',
  };
  const penalties = { presence_penalty: 0, frequency_penalty: 0, mirostat: 0, ignore_eos: false, logit_bias: [] };
  const defaults = { ...penalties, grammar: '', json_schema: null, typical_p: 1, dry_multiplier: 0, n_keep: 0 };
  const gap = { input_prefix: 'const a = ', input_suffix: ';\n', input_extra: [], n_predict: 4 };
  const plain = await ask('/infill', { ...gap, top_k: 40, top_p: 0.99 });
  expect(plain.content).not.toBe('');
  for (const more of [editor, { ...editor, ...defaults }])
    expect((await ask('/infill', { ...gap, ...more })).content).toBe(plain.content);
});

describe('what clients of either kind may ask for', () => {
  const body = { prompt: 'const x = ', temperature: 1, n_predict: 12, max_tokens: 12 };
  const messages = [{ role: 'user', content: 'add' }];

  test('a seed below 0 is none', async () => {
    const drawn = await Promise.all(
      ['/completion', '/completion', '/v1/completions'].map((path) => ask(path, { ...body, seed: -1 })),
    );
    const texts = [drawn[0]!.content, drawn[1]!.content, drawn[2]!.choices[0]!.text];
    expect(new Set(texts).size).toBe(3);
  });

  test('−1 tokens are as many as there may be', async () => {
    const request = {
      ...body,
      messages,
      max_tokens: -1,
      max_completion_tokens: -1,
      n_predict: -1,
      stop: ['\n'],
      seed: 1,
    };
    for (const path of ['/v1/completions', '/v1/chat/completions']) {
      const { choices, usage } = await ask(path, request);
      expect(choices[0]!.finish_reason).toBe('stop');
      expect(usage.completion_tokens).toBeGreaterThan(0);
    }
    expect((await ask('/completion', request)).stop_type).toBe('word');
    const several = await ask('/completion', { ...request, stop: ['never so', '\n', 'nor this'] });
    expect(several).toMatchObject({ stop_type: 'word', stopping_word: '\n' });
    expect(await ask('/completion', { ...request, n_predict: 1, stop: [] })).toMatchObject({ stopping_word: '' });
  });

  test('up to twenty alternatives, and as many as llama.cpp is asked for', async () => {
    const chat = await ask('/v1/chat/completions', { messages, max_tokens: 2, logprobs: true, top_logprobs: 20 });
    expect(chat.choices[0]!.logprobs.content.map((each) => each.top_logprobs.length)).toEqual([20, 20]);
    const { completion_probabilities: told } = await ask('/completion', { ...body, n_predict: 2, n_probs: 10 });
    expect(told.map((each) => each.top_logprobs.length)).toEqual([10, 10]);
  });

  test('a text of which there is a line when its time is over', async () => {
    const request = { ...body, prompt: 'export const x = 1;\n', temperature: 0, n_predict: 60 };
    const whole = (await ask('/completion', { ...request, t_max_predict_ms: 0 })).content;
    const { content, stop_type } = await ask('/completion', { ...request, t_max_predict_ms: 1 });
    expect(content).toContain('\n');
    expect([whole.startsWith(content), whole.length > content.length, stop_type]).toEqual([true, true, 'limit']);
    const { choices } = await ask('/v1/completions', { ...request, max_tokens: 60, t_max_predict_ms: 1 });
    expect(choices[0]!.text).toContain('\n');
    expect([whole.startsWith(choices[0]!.text), whole.length > choices[0]!.text.length]).toEqual([true, true]);
  });

  test('several prompts of /completion, each as it is answered alone', async () => {
    const ids = tokenizer.encode('class A');
    const request = { n_predict: 6, return_tokens: true };
    const prompts = ['let a = ', ids, 'let b = '];
    const alone = await Promise.all(prompts.map((prompt) => ask('/completion', { ...request, prompt })));
    const all = (await ask('/completion', { ...request, prompt: prompts })) as unknown as Answer[];
    expect(all.map(({ index, tokens }) => [index, tokens])).toEqual(alone.map(({ tokens }, i) => [i, tokens]));
    expect((await ask('/completion', { ...request, prompt: [ids] })).content).toBe(alone[1]!.content);
    const stream = await (await post('/completion', { ...request, prompt: prompts, stream: true })).text();
    const texts = ['', '', ''];
    for (const [, piece] of stream.matchAll(/^data: (\{.*)$/gm)) {
      const { index, content } = JSON.parse(piece!) as Answer;
      texts[index] += content;
    }
    expect(texts).toEqual(alone.map(({ content }) => content));
  });
});
