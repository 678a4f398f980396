/** The built language server as a client sees it, over standard input and output. */
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import {
  createProtocolConnection,
  StreamMessageReader,
  StreamMessageWriter,
  type CancellationToken,
} from 'vscode-languageserver/node';
import type { ServerOptions } from '../../../protocol/server.ts';
import { benchCache, root, shippedModel } from '../material.ts';

export interface LanguageServer {
  readonly pid: number;
  request<Result>(method: string, params: object, token?: CancellationToken): Promise<Result>;
  notify(method: string, params: object): Promise<void>;
  onNotification<Params>(method: string, handler: (params: Params) => void): void;
  dispose(): Promise<void>;
}

export async function startLanguageServer(): Promise<LanguageServer> {
  mkdirSync(benchCache, { recursive: true });
  const child = spawn(process.execPath, [path.join(root, 'dist/server.js'), '--stdio'], {
    cwd: benchCache,
    env: { ...process.env, EARLY_EXIT_CACHE: path.join(benchCache, 'user-cache') },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const connection = createProtocolConnection(
    new StreamMessageReader(child.stdout),
    new StreamMessageWriter(child.stdin),
  );
  connection.listen();
  const initializationOptions: Partial<ServerOptions> = { shippedModel };
  await connection.sendRequest('initialize', {
    processId: process.pid,
    rootUri: null,
    capabilities: {},
    initializationOptions,
  });
  await connection.sendNotification('initialized', {});
  return {
    pid: child.pid!,
    request: (method, params, token) =>
      token ? connection.sendRequest(method, params, token) : connection.sendRequest(method, params),
    notify: (method, params) => connection.sendNotification(method, params),
    onNotification: (method, handler) => void connection.onNotification(method, handler),
    async dispose() {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      connection.dispose();
      child.stdin.end();
      await ended;
    },
  };
}
