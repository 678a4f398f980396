/** Lives of the backend, one behind the other, with clients that are none. */
import type { ExtensionContext, LogOutputChannel } from 'vscode';
import { beforeEach, expect, it, vi } from 'vitest';
import { createBackend, type BackendState } from '../../../../extension/backend/backend.ts';
import type { Client } from '../../../../extension/backend/client.ts';
import * as protocol from '../../../../protocol/server.ts';

interface FakeClient {
  stopped: boolean;
  readonly crash: () => void;
  readonly handlers: Map<string, (params: unknown) => void>;
}

const fake = vi.hoisted(() => ({ clients: [] as FakeClient[], problem: null as Error | null }));
const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

vi.mock('../../../../extension/backend/client.ts', () => ({
  findRuntime: async () => {
    await soon();
    if (fake.problem) throw fake.problem;
    return { command: 'node', environment: {}, description: 'a Node' };
  },
  createClient(_context: unknown, _log: unknown, _runtime: unknown, crash: () => void): Client {
    const client: FakeClient = { stopped: false, crash, handlers: new Map() };
    const number = fake.clients.push(client);
    return {
      start: async () => {},
      stop: async () => {
        await soon();
        client.stopped = true;
      },
      send: async () => number,
      notify: async () => {},
      listen(method, handler) {
        client.handlers.set(method, handler);
        return { dispose: () => void client.handlers.delete(method) };
      },
    };
  },
}));

const log = { info: () => undefined, warn: () => undefined } as unknown as LogOutputChannel;
const make = (): ReturnType<typeof createBackend> => createBackend({} as ExtensionContext, log);

beforeEach(() => {
  fake.clients = [];
  fake.problem = null;
});

it('answers what is asked during a restart from the new backend, which is heard', async () => {
  const backend = make();
  const states: BackendState[] = [];
  let notifications = 0;
  backend.listen(protocol.runChanged, () => notifications++);
  await backend.start();
  backend.onState((state) => states.push(state));
  const restarted = backend.restart();
  expect(await backend.send(protocol.listRuns, {})).toBe(2);
  await restarted;
  expect(fake.clients.map(({ stopped }) => stopped)).toEqual([true, false]);
  expect(states).toEqual(['stopped', 'starting', 'running']);
  fake.clients[1]!.handlers.get(protocol.runChanged.method)?.({});
  expect(notifications).toBe(1);
});

it('keeps the backend that a restart began where the one before could not start', async () => {
  const backend = make();
  fake.problem = new Error('There is no Node.');
  const failing = expect(backend.start()).rejects.toThrow('There is no Node.');
  const restarted = backend.restart();
  await failing;
  fake.problem = null;
  await restarted;
  expect(await backend.send(protocol.listRuns, {})).toBe(1);
  expect(fake.clients).toHaveLength(1);
});

it('starts another backend after a crash, the only one also where a restart comes meanwhile', async () => {
  const backend = make();
  await backend.start();
  fake.clients[0]!.crash();
  expect(backend.state()).toBe('starting');
  await backend.restart();
  expect(await backend.send(protocol.listRuns, {})).toBe(3);
  expect(fake.clients.map(({ stopped }) => stopped)).toEqual([true, true, false]);
});

it('says what is wrong where the one after a crash cannot start, and where it crashes again and again', async () => {
  const backend = make();
  await backend.start();
  fake.problem = new Error('There is no Node.');
  fake.clients[0]!.crash();
  await vi.waitFor(() => expect([backend.state(), backend.failure()]).toEqual(['failed', 'There is no Node.']));
  fake.problem = null;
  await backend.restart();
  for (let crashes = 1; crashes <= 4; crashes++) {
    fake.clients.at(-1)!.crash();
    await vi.waitFor(() => expect(backend.state()).toBe('running'));
  }
  fake.clients.at(-1)!.crash();
  expect(backend.state()).toBe('failed');
  expect(fake.clients).toHaveLength(6);
});
