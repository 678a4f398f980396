/** Requests as clients were seen to send them, shortened: each is answered, in the shape that its client reads. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { clientOf, servedFiles, serveHere } from '../../support/served.ts';

interface Seen {
  readonly client: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: object;
}
const seen = JSON.parse(readFileSync('test/fixtures/clients.json', 'utf8')) as Seen[];

const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
const server = await serveHere(await servedFiles(folder), { parallel: 8, maxTokens: 12 });
await server.loaded;
const { post } = clientOf(server.url);
afterAll(async () => {
  expect(server.defects).toEqual([]);
  await server.close();
  rmSync(folder, { recursive: true });
});

/** What a client reads of an answer, or of the last piece of a stream; by path. */
const read: Record<string, object> = {
  '/v1/models': { data: [{ id: 'served-model' }] },
  '/v1/models/served-model': { id: 'served-model' },
  '/v1/completions': { choices: expect.arrayContaining([expect.objectContaining({ text: expect.any(String) as string })]) as object[] }, // prettier-ignore
  '/v1/chat/completions': {
    choices: [{ finish_reason: expect.stringMatching(/^(stop|length|tool_calls)$/) as string }],
  },
  '/v1/responses': { output: [{ type: 'message', content: [{ type: 'output_text' }] }] },
  '/v1/messages': { type: 'message', role: 'assistant', content: [{}], usage: {} },
  '/v1/messages/count_tokens': { input_tokens: expect.any(Number) as number },
  '/v1/embeddings': { data: [{ object: 'embedding', index: 0 }], usage: {} },
  '/api/ps': { models: [{ model: 'served-model:latest' }] },
  '/api/tags': { models: [{ model: 'served-model:latest' }] },
  '/api/show': { capabilities: ['completion', 'embedding', 'tools', 'insert'], template: expect.stringContaining('.Suffix') as string }, // prettier-ignore
  '/api/chat': { done: true, message: { role: 'assistant' } },
  '/api/generate': { done: true, response: expect.any(String) as string },
  '/api/embed': { embeddings: [expect.any(Array)] },
  '/infill': { content: expect.any(String) as string, timings: { predicted_n: expect.any(Number) as number } },
  '/completion': { content: '', stop: true },
  '/props': { default_generation_settings: { n_ctx: 512 } },
};

// All at once, as a batch.
const answers = await Promise.all(
  seen.map(async ({ method, path, body }) => {
    const response = method === 'GET' ? await fetch(`${server.url}${path}`) : await post(path, body);
    const isLines = response.headers.get('content-type')!.includes('ndjson');
    return { status: response.status, text: await response.text(), isLines };
  }),
);

test.each(seen.map((each, i) => [each.client, each.path, each.body ?? {}, answers[i]!] as const))(
  '%s asks %s %j',
  (_client, path, _body, { status, text, isLines }) => {
    expect([text, status]).toEqual([text, 200]);
    const pieces = isLines
      ? text.trim().split('\n')
      : [...text.matchAll(/^data: (\{.*)$/gm)].map(([, piece]) => piece!);
    const all = (pieces.length > 0 ? pieces : [text]).map((piece) => JSON.parse(piece) as Record<string, unknown>);
    if (path === '/v1/messages' && pieces.length > 0) return expect(all.at(-1)).toEqual({ type: 'message_stop' });
    // Usage comes behind the last choice.
    const last = all.filter(({ choices }) => !Array.isArray(choices) || choices.length > 0).at(-1);
    expect(last).toMatchObject(read[path]!);
  },
);
