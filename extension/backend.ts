/**
 * The backend process and the language client that talks to it. Started on first use, restarted after a crash a few
 * times, ended with the window. Everything that belongs to one life of the client is dropped when that life ends.
 */
import { execa } from 'execa';
import path from 'node:path';
import * as vscode from 'vscode';
import { CloseAction, ErrorAction, LanguageClient, State, type StreamInfo } from 'vscode-languageclient/node';
import { describeError } from '../protocol/errors.ts';
import type { Notification, Request, ServerOptions } from '../protocol/server.ts';
import { findNode, type NodeRuntime } from './node-runtime.ts';
import { backendSettings, displaySettings, serverDisplay } from './settings.ts';

export type BackendState = 'stopped' | 'starting' | 'running' | 'failed';

export interface Backend {
  readonly log: vscode.LogOutputChannel;
  readonly state: () => BackendState;
  /** How the backend runs; null before it was started. */
  readonly runtime: () => NodeRuntime | null;
  /** What went wrong, where the state is `failed`. */
  readonly failure: () => string;
  readonly onState: vscode.Event<BackendState>;
  /** Fires each time a client is ready, after a crash too: what the server knew it has forgotten. */
  readonly onReady: vscode.Event<void>;
  /** Starts the backend if need be. Rejects with the server's own sentence. */
  send<Params, Result>(
    message: Request<Params, Result>,
    params: Params,
    token?: vscode.CancellationToken,
  ): Promise<Result>;
  /** Sends where a backend runs; it is not started for this. */
  notify<Params>(message: Notification<Params>, params: Params): void;
  /** For the life of the extension: goes over to each new client. */
  listen<Params>(message: Notification<Params>, handler: (params: Params) => void): vscode.Disposable;
  start(): Promise<void>;
  restart(): Promise<void>;
  dispose(): Promise<void>;
}

/** More crashes than this within the window, and the backend stays down until the user restarts it. */
const MAX_CRASHES = 4;
const CRASH_WINDOW_MILLISECONDS = 3 * 60_000;
const STOP_MILLISECONDS = 5_000;

export function createBackend(context: vscode.ExtensionContext, log: vscode.LogOutputChannel): Backend {
  const stateChanged = new vscode.EventEmitter<BackendState>();
  const ready = new vscode.EventEmitter<void>();
  const handlers = new Map<string, Set<(params: never) => void>>();
  let state: BackendState = 'stopped';
  let failure = '';
  let runtime: NodeRuntime | null = null;
  let starting: Promise<LanguageClient> | null = null;
  /** Of this life of the client. */
  let clientDisposables: vscode.Disposable[] = [];
  let child: { kill(signal: NodeJS.Signals): boolean } | null = null;
  let crashes: number[] = [];

  const become = (next: BackendState, why = ''): void => {
    state = next;
    failure = why;
    stateChanged.fire(next);
  };

  const spawn = async (): Promise<StreamInfo> => {
    const { command, environment } = (runtime ??= await findNode(backendSettings().nodePath, process.execPath));
    const server = context.asAbsolutePath('dist/server.js');
    const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
    const process_ = execa(command, [server, '--stdio', '--clientProcessId', String(process.pid)], {
      cwd: folder?.scheme === 'file' ? folder.fsPath : context.extensionPath,
      env: { ...environment },
      stdin: 'pipe',
      buffer: false,
      reject: false,
      cleanup: true,
      forceKillAfterDelay: STOP_MILLISECONDS,
    });
    child = process_;
    process_.stderr?.setEncoding('utf8').on('data', (text: string) => log.warn(text.trimEnd()));
    void process_.then(({ exitCode, signal, failed, originalMessage }) => {
      log.info(`Backend ended: ${signal ?? exitCode ?? originalMessage ?? (failed ? 'failed' : 'done')}`);
    });
    if (process_.pid === undefined) {
      const { originalMessage } = await process_;
      throw new Error(`The backend could not be started with ${command}: ${originalMessage ?? 'unknown reason'}`);
    }
    return { reader: process_.stdout, writer: process_.stdin, detached: false };
  };

  const makeClient = (): LanguageClient =>
    new LanguageClient('earlyExit', 'Early Exit', spawn, {
      documentSelector: [{ scheme: 'file' }, { scheme: 'untitled' }, { scheme: 'vscode-userdata' }],
      outputChannel: log,
      diagnosticCollectionName: 'earlyExit',
      initializationOptions: (): ServerOptions => ({
        runs: runsFolder(context),
        resumeRuns: vscode.workspace.isTrusted,
        shippedModel: context.asAbsolutePath(path.join('models', 'typescript-5m')),
        runtime: runtime?.description ?? '',
        display: serverDisplay(displaySettings()),
      }),
      initializationFailedHandler: () => false,
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => {
          const now = Date.now();
          crashes = [...crashes.filter((at) => now - at < CRASH_WINDOW_MILLISECONDS), now];
          if (crashes.length <= MAX_CRASHES) {
            log.warn(`The backend ended unexpectedly; starting it again (${crashes.length} of ${MAX_CRASHES}).`);
            become('starting');
            return { action: CloseAction.Restart, handled: true };
          }
          become(
            'failed',
            vscode.l10n.t('The backend ended unexpectedly {0} times within three minutes.', crashes.length),
          );
          return { action: CloseAction.DoNotRestart, handled: true };
        },
      },
    });

  const start = async (): Promise<LanguageClient> => {
    become('starting');
    try {
      runtime = await findNode(backendSettings().nodePath, process.execPath);
    } catch (error) {
      starting = null;
      become('failed', describeError(error));
      throw error;
    }
    log.info(`Backend: ${runtime.description}`);
    const client = makeClient();
    clientDisposables = [
      client.onDidChangeState(({ newState }) => {
        if (newState !== State.Running) return;
        become('running');
        ready.fire();
      }),
    ];
    for (const [method, listeners] of handlers) attachListeners(client, method, listeners);
    try {
      await client.start();
    } catch (error) {
      starting = null;
      become('failed', describeError(error));
      for (const disposable of clientDisposables) disposable.dispose();
      child?.kill('SIGKILL');
      throw error;
    }
    return client;
  };

  const attachListeners = (client: LanguageClient, method: string, listeners: Set<(params: never) => void>): void => {
    clientDisposables.push(
      client.onNotification(method, (params: unknown) => {
        for (const listener of listeners) listener(params as never);
      }),
    );
  };

  const client = (): Promise<LanguageClient> => (starting ??= start());

  const stop = async (): Promise<void> => {
    const stopping = starting;
    starting = null;
    const running = await stopping?.catch(() => null);
    await running?.stop(STOP_MILLISECONDS).catch((error: unknown) => log.warn(describeError(error)));
    for (const disposable of clientDisposables) disposable.dispose();
    clientDisposables = [];
    child?.kill('SIGTERM');
    child = null;
    if (state !== 'stopped') become('stopped');
  };

  return {
    log,
    state: () => state,
    runtime: () => runtime,
    failure: () => failure,
    onState: stateChanged.event,
    onReady: ready.event,
    async send(message, params, token) {
      const running = await client();
      return token ? running.sendRequest(message.method, params, token) : running.sendRequest(message.method, params);
    },
    notify(message, params) {
      if (state !== 'running') return;
      void starting?.then((running) => running.sendNotification(message.method, params)).catch(() => {});
    },
    listen(message, handler) {
      const known = handlers.get(message.method);
      const listeners = known ?? new Set();
      listeners.add(handler);
      if (!known) {
        handlers.set(message.method, listeners);
        void starting?.then((running) => attachListeners(running, message.method, listeners)).catch(() => {});
      }
      return new vscode.Disposable(() => listeners.delete(handler));
    },
    async start() {
      await client();
    },
    async restart() {
      crashes = [];
      await stop();
      await client();
    },
    async dispose() {
      await stop();
      stateChanged.dispose();
      ready.dispose();
    },
  };
}

/** Where runs are recorded: with the folder, so that its next window finds them. */
const runsFolder = (context: vscode.ExtensionContext): string =>
  path.join((context.storageUri ?? context.globalStorageUri).fsPath, 'runs');
