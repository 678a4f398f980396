/** The editor's server: one at a time, however it is asked, and what is said if it cannot be. */
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, expect, it } from 'vitest';
import { answerServing } from '../../../backend/language-server/serving.ts';
import { createEngine } from '../../../backend/worker/engine.ts';
import type { Answering } from '../../../backend/language-server/models.ts';
import * as protocol from '../../../protocol/server.ts';
import type { ServingState } from '../../../protocol/server.ts';
import { shippedModel } from '../../support/golden.ts';

type Handler = (params: unknown, token: unknown) => unknown;

const handlers = new Map<string, Handler>();
const notifications: string[] = [];
const answering = {
  answer: ({ method }: { method: string }, handler: Handler) => void handlers.set(method, handler),
  notify: ({ method }: { method: string }, params: unknown) =>
    void notifications.push(`${method} ${JSON.stringify(params)}`),
  warn: () => undefined,
} as unknown as Answering;
const engine = createEngine();
const stop = answerServing(answering, engine);
const start = (different: Record<string, unknown> = {}): Promise<ServingState> => {
  const options = { model: shippedModel, device: 'cpu', port: 0, ...different };
  return Promise.resolve(handlers.get(protocol.startServer.method)!({ options }, null)) as Promise<ServingState>;
};
const isUp = (url: string): Promise<boolean> =>
  fetch(`${url}/health`).then(
    () => true,
    () => false,
  );
afterAll(() => engine.dispose());
afterEach(async () => {
  await stop();
  notifications.length = 0;
});

it('serves until it is stopped, and a stop that was asked for is not told as an end', async () => {
  const { url, name } = await start();
  expect(name).toBe('typescript-5m');
  expect(await isUp(url)).toBe(true);
  await handlers.get(protocol.stopServer.method)!({}, null);
  expect(await isUp(url)).toBe(false);
  expect(notifications).toEqual([]);
}, 60_000);

it('leaves one where it is started twice at once', async () => {
  const refused = expect(start()).rejects.toMatchObject({ code: 'cancelled' });
  const { url } = await start();
  await refused;
  expect(await isUp(url)).toBe(true);
}, 60_000);

it('says that a port is taken and which setting names another, and can be started again', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const { port } = other.address() as AddressInfo;
  await expect(start({ port })).rejects.toMatchObject({
    code: 'bad-argument',
    message: `Port ${port} is taken.`,
    wayOut: expect.stringMatching(/earlyExit\.server\.port/) as string,
  });
  other.close();
  expect(await isUp((await start()).url)).toBe(true);
}, 60_000);

it('tells that a server has ended where another was asked for in its place and cannot come', async () => {
  const { url } = await start();
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  await expect(start({ port: (other.address() as AddressInfo).port })).rejects.toMatchObject({ code: 'bad-argument' });
  other.close();
  expect(await isUp(url)).toBe(false);
  expect(notifications).toEqual([`${protocol.serverEnded.method} {"problem":null}`]);
}, 60_000);

it('names a model that is missing, and nothing listens after that', async () => {
  await expect(start({ model: '/nowhere/missing.gguf' })).rejects.toMatchObject({
    message: expect.stringMatching(/missing\.gguf/) as string,
  });
  expect(notifications).toEqual([]);
}, 60_000);

it('says that it was stopped to who waits for it', async () => {
  const refused = expect(start()).rejects.toMatchObject({ code: 'cancelled' });
  await stop();
  await refused;
}, 60_000);
