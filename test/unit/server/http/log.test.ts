/** A record of each request, its line, and what the metrics make of all of them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, expect, test } from 'vitest';
import { lineOf, recordOf } from '../../../../backend/server/http/log.ts';
import { newTally } from '../../../../backend/server/http/tally.ts';
import type { RequestRecord } from '../../../../protocol/serving.ts';
import { clientOf, metric, servedFiles, serveHere } from '../../../support/served.ts';

const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
const records: RequestRecord[] = [];
const server = await serveHere(await servedFiles(folder), { parallel: 2 }, (record) => records.push(record));
await server.loaded;
const { post, ask } = clientOf(server.url);
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});
/** The record of the newest request. */
async function loggedRecord(): Promise<RequestRecord> {
  for (let waited = 0; records.length === 0 && waited < 100; waited++) await setTimeout(20);
  return records.pop()!;
}

test('each request has a record, without what was asked', async () => {
  const secret = 'export const secret = 1;';
  await ask('/v1/completions', { prompt: secret, max_tokens: 12, n: 2, early_exit: { mode: 'fast', threshold: 0.1 } });
  const record = await loggedRecord();
  expect(record).toMatchObject({ type: 'request', client: '127.0.0.1', method: 'POST', path: '/v1/completions', status: 200, written: { texts: 2, writtenTokens: 24, reasons: ['length'] } }); // prettier-ignore
  const { written, milliseconds } = record;
  expect(Object.values(written!.exits).reduce((sum, each) => sum + each)).toBe(24);
  expect(written!.exits['4:norm']).toBeGreaterThan(0);
  expect(written!.meanLayer).toBeLessThan(12);
  expect(written!.firstMilliseconds).toBeLessThanOrEqual(milliseconds);
  expect(JSON.stringify(record)).not.toContain('secret');
  const line = lineOf(record);
  expect(line).toMatch(/^\d\d:\d\d:\d\d POST \/v1\/completions 200 · 127\.0\.0\.1 · .* · \d+( \(\d+ remembered\))? \+ 24 tokens · first after .* · [\d.]+ tokens\/s · layer [\d.]+$/); // prettier-ignore
});

test('so have refusals and questions; health and metrics have none', async () => {
  await post('/v1/completions', { prompt: 5 });
  expect(await loggedRecord()).toMatchObject({ status: 400, written: null });
  await post('/nowhere?secret=1', {});
  expect(await loggedRecord()).toMatchObject({ status: 404, path: '/nowhere' });
  await ask('/tokenize', { content: 'a' });
  const logged = await loggedRecord();
  expect(logged).toMatchObject({ status: 200, path: '/tokenize', written: null });
  expect(lineOf(logged)).toMatch(/POST \/tokenize 200 · 127\.0\.0\.1 · \d+ ms$/);
  await fetch(`${server.url}/health`);
  await fetch(`${server.url}/metrics`);
  await setTimeout(50);
  expect(records).toEqual([]);
});

test('a stream that its client leaves has one, too', async () => {
  const stop = new AbortController();
  const stream = await post('/completion', { prompt: 'let a', n_predict: 400, stream: true }, { signal: stop.signal });
  await stream.body!.getReader().read();
  stop.abort();
  expect(await loggedRecord()).toMatchObject({ status: 200, path: '/completion', written: { reasons: [] } });
});

test('what was asked is in it where that is wanted', () => {
  const request = { prompts: [{ kind: 'text', text: 'secret\nline' }], count: 1 } as never;
  const answered = { client: 'key 1', method: 'POST', path: '/completion', status: 200, tally: newTally(), request };
  expect(recordOf(answered, true).prompts).toEqual([{ kind: 'text', text: 'secret\nline' }]);
  expect(lineOf(recordOf(answered, true))).toMatch(/key 1 .*secret\\nline/);
  expect(recordOf(answered, false).prompts).toBeUndefined();
});

test('the metrics have times to the first token, speeds, the queue, exits and drafts', async () => {
  await ask('/v1/completions', {
    prompt: 'a = 1;\na = 1;\na = 1;\na',
    max_tokens: 24,
    early_exit: { mode: 'lossless' },
  });
  const page = await (await fetch(`${server.url}/metrics`)).text();
  const value = (name: string): number => Number(new RegExp(`^early_exit_${name} ([\\d.e-]+)$`, 'm').exec(page)?.[1]);
  const written = await metric(server.url, 'written_tokens_total');
  const byExit = [...page.matchAll(/^early_exit_tokens_by_exit_total\{exit="([^"]+)"\} (\d+)$/gm)];
  expect(byExit.map(([, exit]) => exit)).toEqual(expect.arrayContaining(['final', '4:norm']));
  expect(byExit.reduce((sum, [, , tokens]) => sum + Number(tokens), 0)).toBe(written);
  expect(value('first_token_seconds_count')).toBe(3);
  expect(value('first_token_seconds_bucket{le="\\+Inf"}')).toBe(3);
  expect(value('first_token_seconds_sum')).toBeGreaterThan(0);
  expect(value('request_tokens_per_second_count')).toBeGreaterThanOrEqual(2);
  expect(value('drafts_total')).toBeGreaterThanOrEqual(value('drafts_right_total'));
  expect(value('drafts_right_total')).toBeGreaterThan(0);
  expect([value('texts_open'), value('texts_writing'), value('texts_waiting')]).toEqual([0, 0, 0]);
});

test('a request that its client leaves before its answer has the status of that', async () => {
  const stop = new AbortController();
  const body = { prompt: 'let a', n: 60, max_tokens: 400, temperature: 1 };
  const answer = post('/v1/completions', body, { signal: stop.signal });
  await setTimeout(200);
  records.length = 0;
  stop.abort();
  await expect(answer).rejects.toThrow();
  expect(await loggedRecord()).toMatchObject({ status: 499, path: '/v1/completions' });
});
