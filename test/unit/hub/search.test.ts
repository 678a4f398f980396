/** Searching against a server on this machine that speaks the hub's protocol. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { hubChoices, searchHub } from '../../../backend/hub/search.ts';

type Answer = (url: URL, response: ServerResponse) => void;

async function hub(answer: Answer): Promise<{ environment: Record<string, string>; requests: URL[] }> {
  const requests: URL[] = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://host');
    requests.push(url);
    answer(url, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return { environment: { HF_ENDPOINT: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }, requests };
}
const json = (response: ServerResponse, value: unknown): void =>
  void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
const entry = (id: string, downloads: number) => ({
  _id: id,
  id,
  downloads,
  likes: 0,
  private: false,
  gated: false,
  lastModified: '2025-01-01T00:00:00Z',
});

it('finds models of both kinds of files, each once, most downloaded first', async () => {
  const { environment, requests } = await hub((url, response) =>
    json(
      response,
      url.search.includes('gguf')
        ? [entry('a/one-GGUF', 5), entry('a/both', 9)]
        : [entry('a/both', 9), entry('b/two', 7), entry('../evil', 99)],
    ),
  );
  expect(await searchHub('coder', { environment })).toEqual([
    { name: 'a/both', downloads: 9 },
    { name: 'b/two', downloads: 7 },
    { name: 'a/one-GGUF', downloads: 5 },
  ]);
  expect(requests.every((url) => url.searchParams.get('search') === 'coder')).toBe(true);
});

it('lists what can be downloaded of a model, smallest first', async () => {
  const file = (path: string, size: number) => ({ type: 'file', oid: '0', path, size, lfs: { oid: '1', size } });
  const { environment } = await hub((_, response) =>
    json(response, [
      file('m-Q8_0.gguf', 800),
      file('m-Q4_K_M.gguf', 400),
      file('big-00001-of-00002.gguf', 5),
      file('m-F16-00001-of-00002.gguf', 900),
      file('m-F16-00002-of-00002.gguf', 600),
      file('model.safetensors', 1600),
      file('config.json', 1),
    ]),
  );
  expect(await hubChoices('a/m', { environment })).toEqual([
    { reference: 'a/m:m-Q4_K_M.gguf', bytes: 400, type: 'Q4_K_M' },
    { reference: 'a/m:m-Q8_0.gguf', bytes: 800, type: 'Q8_0' },
    { reference: 'a/m:m-F16-00001-of-00002.gguf', bytes: 1500, type: 'F16' },
    { reference: 'a/m', bytes: 1600, type: 'safetensors' },
  ]);
});

it('says in a sentence that the hub does not answer', async () => {
  const { environment } = await hub((_, response) => void response.socket?.destroy());
  const endpoint = environment['HF_ENDPOINT']!;
  for (const asking of [searchHub('x', { environment }), hubChoices('a/b', { environment })]) {
    await expect(asking).rejects.toMatchObject({
      code: 'network',
      message: expect.stringContaining(`The hub at ${endpoint} does not answer: `) as string,
      wayOut: 'Check the connection. Models on this machine need no network.',
    });
  }
});
