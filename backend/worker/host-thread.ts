/**
 * Host side of one worker thread: starts it, runs jobs in it, and lets it end on its own. A thread is never terminated: a native call that
 * is terminated takes the process with it.
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

/** One job in a thread. */
export interface ThreadJob {
  /** Rejects with the job's error, a UserError if the user can do something about it. */
  readonly finished: Promise<void>;
  /** Sends the recipe a message. */
  send(message: JobMessages[JobName]): void;
  /** Asks the recipe to stop at its next step. */
  cancel(): void;
}

export interface HostThread {
  run<Name extends JobName>(recipe: Name, options: JobOptions[Name], onEvent: (event: unknown) => void): ThreadJob;
  /** Ends the thread once what it computes is over; settles when it has ended. */
  leave(): Promise<void>;
  /** Whether the process stays for it. */
  hold(holds: boolean): void;
  isAlive(): boolean;
}

interface Pending {
  readonly recipe: JobName;
  readonly onEvent: (event: unknown) => void;
  readonly end: (error: Error | null) => void;
}

/** `entry`: the module that the thread runs; it calls `serveHost`. */
export function openThread(entry: URL): HostThread {
  const data: ThreadData = { entry: entry.href };
  const file = entry.pathname.endsWith('.ts') ? new URL('./source-thread.mjs', import.meta.url) : entry;
  const worker = new Worker(file, { workerData: data, env: SHARE_ENV });
  const post = (request: JobRequest): void => worker.postMessage(request);
  const pending = new Map<number, Pending>();
  let jobs = 0;
  let alive = true;

  const end = (job: number, error: Error | null): void => {
    pending.get(job)?.end(error);
    pending.delete(job);
  };
  const endAll = (errorOf: (recipe: JobName) => Error): void => {
    for (const [job, { recipe }] of [...pending]) end(job, errorOf(recipe));
  };
  worker.on('message', (reply: JobReply) => {
    if (reply.type === 'event') pending.get(reply.job)?.onEvent(reply.event);
    else end(reply.job, reply.type === 'failed' ? fromErrorRecord(reply.error) : null);
  });
  worker.on('error', (error) => endAll((recipe) => crashError(recipe, error)));
  const ended = new Promise<void>((resolve) => {
    worker.on('exit', (code) => {
      alive = false;
      endAll((recipe) => new Error(`The engine stopped while ${recipe} was running (exit code ${code}).`));
      resolve();
    });
  });

  return {
    isAlive: () => alive,
    run(recipe, options, onEvent) {
      const job = ++jobs;
      const cancelFlag = newCancelFlag();
      const finished = new Promise<void>((resolve, reject) => {
        pending.set(job, { recipe, onEvent, end: (error) => (error === null ? resolve() : reject(error)) });
      });
      post({ type: 'start', job, recipe, options, cancelFlag } as JobRequest);
      return {
        finished,
        send: (message) => post({ type: 'message', job, message }),
        cancel() {
          setCancelFlag(cancelFlag, true);
          post({ type: 'cancel', job });
        },
      };
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
