/**
 * The backend as the extension uses it: started on first use, started again after a crash a few times, ended with the
 * window. What belongs to one life of the client is dropped when that life ends.
 */
import * as vscode from 'vscode';
import { describeError } from '../../protocol/errors.ts';
import type { Notification, Request } from '../../protocol/server.ts';
import { createListeners } from './backend-listeners.ts';
import type { Client } from './client.ts';
import type { NodeRuntime } from './node-runtime.ts';

export type BackendState = 'stopped' | 'starting' | 'running' | 'failed';

export interface Backend {
  readonly log: vscode.LogOutputChannel;
  readonly state: () => BackendState;
  /** How the backend runs; null before it was started. */
  readonly runtime: () => NodeRuntime | null;
  /** What went wrong, if the state is `failed`. */
  readonly failure: () => string;
  readonly onState: vscode.Event<BackendState>;
  /** The process has ended unexpectedly and is started again. */
  readonly onCrash: vscode.Event<void>;
  /** Fires each time a client is ready. After a crash the new server knows nothing that the old one knew. */
  readonly onReady: vscode.Event<void>;
  /** Starts the backend if need be. Rejects with the server's own sentence, or with `BackendEnded`. */
  send<Params, Result>(
    message: Request<Params, Result>,
    params: Params,
    token?: vscode.CancellationToken,
  ): Promise<Result>;
  /** Sends only if a backend runs; none is started for it. */
  notify<Params>(message: Notification<Params>, params: Params): void;
  /** For the life of the extension: goes over to each new client. */
  listen<Params>(message: Notification<Params>, handler: (params: Params) => void): vscode.Disposable;
  start(): Promise<void>;
  /** Ends the backend and starts a new one; requests meanwhile wait for the new one. */
  restart(): Promise<void>;
  dispose(): Promise<void>;
}

/** The backend ended during a request. */
export class BackendEnded extends Error {
  constructor() {
    super(vscode.l10n.t('The backend ended unexpectedly.'));
  }
}

/** More crashes than this within the window, and the backend stays down until the user restarts it. */
const MAX_CRASHES = 4;
const CRASH_WINDOW_MILLISECONDS = 3 * 60_000;

export function createBackend(context: vscode.ExtensionContext, log: vscode.LogOutputChannel): Backend {
  const stateChanged = new vscode.EventEmitter<BackendState>();
  const ready = new vscode.EventEmitter<void>();
  const crash = new vscode.EventEmitter<void>();
  const listeners = createListeners();
  let state: BackendState = 'stopped';
  let failure = '';
  let runtime: NodeRuntime | null = null;
  let life: Promise<Client> | null = null;
  let crashes: number[] = [];

  const become = (next: BackendState, why = ''): void => {
    state = next;
    failure = why;
    stateChanged.fire(next);
  };

  /** The client has ended by itself: another one is started, or none if that happens too often. */
  const crashed = (): void => {
    const now = Date.now();
    crashes = [...crashes.filter((at) => now - at < CRASH_WINDOW_MILLISECONDS), now];
    void life?.then((ended) => ended.stop());
    listeners.detach();
    if (crashes.length > MAX_CRASHES) {
      life = null;
      const times = String(crashes.length);
      become('failed', vscode.l10n.t('The backend ended unexpectedly {0} times within three minutes.', times));
      return;
    }
    log.warn(`The backend ended unexpectedly; starting it again (${crashes.length} of ${MAX_CRASHES}).`);
    void begin(open());
    crash.fire();
  };

  const open = async (): Promise<Client> => {
    become('starting');
    let client: Client | null = null;
    try {
      const { createClient, findRuntime } = await import('./client.ts');
      runtime = await findRuntime();
      log.info(`Backend: ${runtime.description}`);
      client = createClient(context, log, runtime, crashed);
      listeners.attach(client);
      await client.start();
      become('running');
      ready.fire();
      return client;
    } catch (error) {
      await client?.stop();
      const why = isConnectionLost(error) ? new BackendEnded() : error;
      become('failed', describeError(why));
      throw why;
    }
  };

  /** From now on requests go to `next`, which is dropped if it cannot start. */
  const begin = (next: Promise<Client>): Promise<Client> => {
    life = next;
    next.catch(() => {
      if (life === next) life = null;
    });
    return next;
  };

  const client = (): Promise<Client> => life ?? begin(open());

  const close = async (ending: Promise<Client> | null): Promise<void> => {
    const running = await ending?.catch(() => null);
    await running?.stop();
    listeners.detach();
    if (state !== 'stopped') become('stopped');
  };

  return {
    log,
    state: () => state,
    runtime: () => runtime,
    failure: () => failure,
    onState: stateChanged.event,
    onReady: ready.event,
    onCrash: crash.event,
    async send<Result>({ method }: { method: string }, params: unknown, token?: vscode.CancellationToken) {
      const running = await client();
      try {
        return (await running.send(method, params, token)) as Result;
      } catch (error) {
        throw isConnectionLost(error) ? new BackendEnded() : error;
      }
    },
    notify({ method }, params) {
      if (state !== 'running') return;
      void life?.then((running) => running.notify(method, params)).catch(() => {});
    },
    listen({ method }, handler) {
      // The protocol's own types say what a method carries.
      const { listening, isNew } = listeners.add(method, handler as (params: unknown) => void);
      if (isNew) void life?.then((running) => listeners.attach(running, method)).catch(() => {});
      return listening;
    },
    async start() {
      await client();
    },
    async restart() {
      crashes = [];
      await begin(close(life).then(open));
    },
    async dispose() {
      const ending = life;
      life = null;
      await close(ending);
      stateChanged.dispose();
      ready.dispose();
      crash.dispose();
    },
  };
}

/** Codes with which JSON-RPC rejects what was pending, or could not be written, when its connection closed. */
const lostCodes: readonly unknown[] = [-32099, -32098, -32097, -32096];

const isConnectionLost = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && lostCodes.includes(error.code);
