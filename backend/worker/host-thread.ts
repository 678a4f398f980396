/**
 * Host side of one worker thread: starts it, runs one job after the other in it, and lets it end by itself. A thread is never ended
 * from outside: a native call that is ended in the middle takes the process with it.
 */
import { SHARE_ENV, Worker } from 'node:worker_threads';
import { userError } from '../../protocol/errors.ts';
import {
  fromErrorRecord,
  type JobMessages,
  type JobName,
  type JobOptions,
  type JobReply,
  type JobRequest,
  type ThreadData,
} from '../../protocol/jobs.ts';
import { newCancelFlag, setCancelFlag } from './cancel.ts';

export interface HostThread {
  /** Runs a job to its end. Rejects with its error, a UserError where the user can do something. */
  run<Name extends JobName>(recipe: Name, options: JobOptions[Name], onEvent: (event: unknown) => void): Promise<void>;
  /** Tells the job that runs something. */
  send(message: JobMessages[JobName]): void;
  /** Asks the job that runs to stop at its next step. */
  cancel(): void;
  /** Ends the thread once what it computes is over; settles when it has ended. */
  leave(): Promise<void>;
  /** Whether the process stays for it. */
  hold(holds: boolean): void;
  isAlive(): boolean;
}

/** `entry`: the module that the thread runs; it calls `serveHost`. */
export function openThread(entry: URL): HostThread {
  const cancelFlag = newCancelFlag();
  const data: ThreadData = { cancelFlag, entry: entry.href };
  const file = entry.pathname.endsWith('.ts') ? new URL('./source-thread.mjs', import.meta.url) : entry;
  const worker = new Worker(file, { workerData: data, env: SHARE_ENV });
  const post = (request: JobRequest): void => worker.postMessage(request);
  let settle: ((error: Error | null) => void) | null = null;
  let onEvent: (event: unknown) => void = () => {};
  let recipe = '';
  let alive = true;

  const end = (error: Error | null): void => {
    const settling = settle;
    settle = null;
    settling?.(error);
  };
  worker.on('message', (reply: JobReply) => {
    if (reply.type === 'event') onEvent(reply.event);
    else end(reply.type === 'failed' ? fromErrorRecord(reply.error) : null);
  });
  worker.on('error', (error) => end(crashError(recipe, error)));
  const ended = new Promise<void>((resolve) => {
    worker.on('exit', (code) => {
      alive = false;
      end(new Error(`The engine stopped while ${recipe} was running (exit code ${code}).`));
      resolve();
    });
  });

  return {
    isAlive: () => alive,
    run(name, options, listener) {
      [recipe, onEvent] = [name, listener];
      setCancelFlag(cancelFlag, false);
      return new Promise((resolve, reject) => {
        settle = (error) => (error === null ? resolve() : reject(error));
        post({ type: 'start', recipe: name, options } as JobRequest);
      });
    },
    send: (message) => post({ type: 'message', message }),
    cancel() {
      setCancelFlag(cancelFlag, true);
      post({ type: 'cancel' });
    },
    leave() {
      post({ type: 'leave' });
      return ended;
    },
    hold: (holds) => (holds ? worker.ref() : worker.unref()),
  };
}

function crashError(recipe: string, error: Error & { code?: unknown }): Error {
  if (error.code !== 'ERR_WORKER_OUT_OF_MEMORY') return error;
  const wayOut = 'Take a smaller batch or sequence length, or give Node more with NODE_OPTIONS=--max-old-space-size.';
  return userError('out-of-memory', `The engine ran out of memory in ${recipe}.`, wayOut, error);
}
