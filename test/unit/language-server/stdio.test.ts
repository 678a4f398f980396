import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createProtocolConnection, StreamMessageReader, StreamMessageWriter } from 'vscode-languageserver/node';
import { readStatus } from '../../../protocol/server.ts';

const main = path.resolve(import.meta.dirname, '../../../backend/language-server/main.ts');
let server: ChildProcess;
const start = (...flags: string[]): ChildProcess =>
  (server = spawn(process.execPath, ['--import', 'tsx', main, '--stdio', ...flags], {
    stdio: ['pipe', 'pipe', 'ignore'],
  }));
afterEach(() => server.kill('SIGKILL'));

describe('the language server as a program', () => {
  it('answers over its standard streams, and ends when they are closed', async () => {
    const { stdin, stdout } = start();
    const client = createProtocolConnection(new StreamMessageReader(stdout!), new StreamMessageWriter(stdin!));
    client.listen();
    await client.sendRequest('initialize', { processId: null, rootUri: null, capabilities: {} });
    expect(await client.sendRequest(readStatus.method, {})).toMatchObject({ activity: 'idle' });
    const ended = once(server, 'exit');
    client.end();
    expect(await ended).toEqual([0, null]);
  });

  it('ends by itself when its client is gone, though the streams stay open', async () => {
    const client = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)']);
    start('--clientProcessId', String(client.pid));
    const { stdin, stdout } = server;
    const connection = createProtocolConnection(new StreamMessageReader(stdout!), new StreamMessageWriter(stdin!));
    connection.listen();
    await connection.sendRequest('initialize', { processId: null, rootUri: null, capabilities: {} });
    const ended = once(server, 'exit');
    client.kill('SIGKILL');
    expect(await ended).toEqual([0, null]);
  });
});
