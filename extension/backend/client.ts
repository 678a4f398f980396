/**
 * The backend's process and the language client over its streams. Loaded when a backend is first needed: the libraries
 * here are most of the bundle, and activation does without them.
 */
import { execa } from 'execa';
import path from 'node:path';
import * as vscode from 'vscode';
import { CloseAction, ErrorAction, LanguageClient, State, type StreamInfo } from 'vscode-languageclient/node';
import type { ServerOptions } from '../../protocol/server.ts';
import { runsFolder } from '../runs/interrupted-runs.ts';
import { findNode, startOptions, type NodeRuntime } from './node-runtime.ts';
import { backendSettings, displayOrDefaults, serverDisplay } from '../settings/settings.ts';

export interface Client {
  start(): Promise<void>;
  /** Asks the server to end, waits a little, and ends its process. */
  stop(): Promise<void>;
  send(method: string, params: unknown, token?: vscode.CancellationToken): Promise<unknown>;
  notify(method: string, params: unknown): Promise<void>;
  listen(method: string, handler: (params: unknown) => void): vscode.Disposable;
}

const ENDED = 'The connection to the backend ended.';

/** How long the server may take to save its runs and end. */
const STOP_MILLISECONDS = 5_000;

/** Throws a UserError if the Node of the setting does not exist. */
export const findRuntime = (): Promise<NodeRuntime> => findNode(backendSettings().nodePath, process.execPath);

/** `crashed` is called if a client that has started ends by itself. */
export function createClient(
  context: vscode.ExtensionContext,
  log: vscode.LogOutputChannel,
  runtime: NodeRuntime,
  crashed: () => void,
): Client {
  let kill: (signal: NodeJS.Signals) => void = () => {};

  const spawn = async (): Promise<StreamInfo> => {
    const server = context.asAbsolutePath('dist/server.js');
    const proxy = vscode.workspace.getConfiguration('http').get<string>('proxy');
    const { cwd, env } = startOptions(context.extensionPath, undefined, proxy);
    const child = execa(runtime.command, [server, '--stdio', '--clientProcessId', String(process.pid)], {
      cwd,
      env: { ...env, ...runtime.environment },
      stdin: 'pipe',
      buffer: false,
      reject: false,
      cleanup: true,
      forceKillAfterDelay: STOP_MILLISECONDS,
    });
    kill = (signal) => void child.kill(signal);
    child.stderr.setEncoding('utf8').on('data', (text: string) => log.warn(text.trimEnd()));
    void child.then(({ exitCode, signal, failed, originalMessage }) => {
      log.info(`Backend ended: ${signal ?? exitCode ?? originalMessage ?? (failed ? 'failed' : 'done')}`);
    });
    if (child.pid === undefined) {
      const { originalMessage } = await child;
      throw new Error(
        `The backend could not be started with ${runtime.command}: ${originalMessage ?? 'unknown reason'}`,
      );
    }
    return { reader: child.stdout, writer: child.stdin, detached: false };
  };

  const client = new LanguageClient('earlyExit', 'Early Exit', spawn, {
    documentSelector: [{ scheme: 'file' }, { scheme: 'untitled' }, { scheme: 'vscode-userdata' }],
    outputChannel: log,
    diagnosticCollectionName: 'earlyExit',
    initializationOptions: (): ServerOptions => ({
      runs: runsFolder(context),
      resumeRuns: vscode.workspace.isTrusted,
      shippedModel: context.asAbsolutePath(path.join('models', 'typescript-5m')),
      runtime: runtime.description,
      display: serverDisplay(displayOrDefaults()),
    }),
    initializationFailedHandler: () => false,
    errorHandler: {
      error: () => ({ action: ErrorAction.Continue, handled: true }),
      // `Backend` starts another client: one that starts itself again cannot be stopped meanwhile, and fails silently.
      closed: () => ({ action: CloseAction.DoNotRestart, handled: true, message: ENDED }),
    },
  });
  /** Whether its end would be a crash: it has started, and was not stopped. */
  let isUp = false;
  const watch = client.onDidChangeState(({ newState }) => {
    if (newState !== State.Running && isUp) {
      isUp = false;
      crashed();
    }
  });

  return {
    async start() {
      await client.start();
      if (!client.isRunning()) throw new Error(ENDED);
      isUp = true;
    },
    async stop() {
      isUp = false;
      await client.stop(STOP_MILLISECONDS).catch((error: unknown) => log.warn(String(error)));
      watch.dispose();
      kill('SIGTERM');
    },
    send: (method, params, token) =>
      token ? client.sendRequest(method, params, token) : client.sendRequest(method, params),
    notify: (method, params) => client.sendNotification(method, params),
    listen: (method, handler) => client.onNotification(method, handler),
  };
}
