/** Streams of records to a client that reads, and to one that does not. */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { openStream } from '../../../../backend/server/http/stream.ts';

const servers: ReturnType<typeof createServer>[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

async function listen(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

const long = 'x'.repeat(3 * 2 ** 20);

test('a record may be longer than what waits for a reader', async () => {
  const url = await listen((_, response) => {
    const stream = openStream(response, {}, 60_000);
    stream.send({ long });
    stream.done();
  });
  expect(await (await fetch(url)).text()).toBe(`data: ${JSON.stringify({ long })}\n\ndata: [DONE]\n\n`);
});

test('a reader that takes nothing is disconnected', async () => {
  let isClosed = false;
  const url = await listen((_, response) => {
    response.once('close', () => (isClosed = true));
    const stream = openStream(response, {}, 60_000);
    for (let i = 0; i < 10; i++) stream.send({ long });
  });
  await fetch(url);
  for (let i = 0; i < 100 && !isClosed; i++) await wait(20);
  expect(isClosed).toBe(true);
});
