import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { createProtocolConnection, StreamMessageReader, StreamMessageWriter } from 'vscode-languageserver/node';
import { readStatus } from '../../../protocol/server.ts';
import { bundled } from '../../support/bundled.ts';

let server: ChildProcess;
const start = (...flags: string[]): ChildProcess =>
  (server = spawn(process.execPath, [bundled('server'), '--stdio', ...flags], {
    stdio: ['pipe', 'pipe', 'pipe'],
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

  it.each([
    ['negative', 'Content-Length: -5\r\n\r\n{}', /Content-Length of "-5"/],
    ['no number', 'Content-Length: NaN\r\n\r\n{}', /Content-Length of "NaN"/],
    ['huge', 'Content-Length: 999999999999999\r\n\r\n{}', /Content-Length of "999999999999999"/],
    ['absent', 'Content-Type: text\r\n\r\n{}', /without one Content-Length/],
    ['twice there', 'Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}', /without one Content-Length/],
    ['endless', 'x'.repeat(10_000), /a head of 4096 bytes and more/],
  ])('ends with a line on standard error where the length of a frame is %s', async (_, bytes, message) => {
    const { stdin, stderr } = start();
    const errorOutput = text(stderr!);
    const ended = once(server, 'exit');
    stdin!.write(bytes);
    expect(await ended).toEqual([1, null]);
    expect(await errorOutput).toMatch(message);
    expect((await errorOutput).trim().split('\n')).toHaveLength(1);
  });

  it('answers a frame that is no JSON, says so on standard error and goes on', async () => {
    const { stdin, stdout, stderr } = start();
    const lines: string[] = [];
    stderr!.on('data', (bytes: Buffer) => lines.push(String(bytes)));
    const client = createProtocolConnection(new StreamMessageReader(stdout!), new StreamMessageWriter(stdin!));
    client.listen();
    await client.sendRequest('initialize', { processId: null, rootUri: null, capabilities: {} });
    stdin!.write('Content-Length: 4\r\n\r\n{]}{');
    expect(await client.sendRequest(readStatus.method, {})).toMatchObject({ activity: 'idle' });
    expect(lines.join('')).toMatch(/^early-exit: a message could not be read: ".*"\.\n$/);
  });
});
