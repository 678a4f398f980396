/**
 * Host side: starts jobs in worker threads and hands their events to any number of readers. One running job a model; a
 * thread stays warm for the next job of its model for a while. Knows no model and never blocks.
 */
import { SHARE_ENV, Worker } from 'node:worker_threads';
import { userError } from '../../protocol/errors.ts';
import {
  fromErrorRecord,
  type JobEvents,
  type JobReply,
  type JobRequest,
  type ThreadData,
} from '../../protocol/jobs.ts';
import type { CommandName, CommandOptions } from '../../protocol/options.ts';
import { broadcast } from './broadcast.ts';
import { newCancelFlag, setCancelFlag } from './cancel.ts';

export interface Job<Name extends CommandName> {
  readonly recipe: Name;
  /** Settles with the job: rejects with its error, a UserError where the user can do something. */
  readonly finished: Promise<void>;
  /** Every event from now on; ends or throws with the job. A reader that leaves early does not stop the job. */
  read(): AsyncGenerator<JobEvents[Name], void>;
  /** Asks the recipe to stop at its next step and to keep its work; `finished` tells when it has. */
  cancel(): void;
  /** Ends the thread at once. */
  kill(): Promise<void>;
}

export interface Engine {
  /** Throws a UserError `busy` while another job runs on the same model. */
  start<Name extends CommandName>(recipe: Name, options: CommandOptions[Name]): Job<Name>;
  /** Cancels every job, waits a little, ends every thread. */
  dispose(): Promise<void>;
}

export interface EngineSettings {
  /** The module a thread runs; it calls `serveHost`. */
  readonly entry?: URL;
  /** How long a thread waits for the next job of its model. */
  readonly idleMilliseconds?: number;
  /** How long `dispose` waits for jobs to stop by themselves. */
  readonly graceMilliseconds?: number;
}

interface Thread {
  readonly worker: Worker;
  readonly cancelFlag: SharedArrayBuffer;
  idleTimer: NodeJS.Timeout | null;
}

interface Running {
  readonly job: Job<CommandName>;
  readonly settled: Promise<unknown>;
}

export function createEngine(settings: EngineSettings = {}): Engine {
  const { entry = defaultEntry(), idleMilliseconds = 0, graceMilliseconds = 5_000 } = settings;
  const running = new Map<string, Running>();
  const warm = new Map<string, Thread>();

  const takeThread = (key: string): Thread => {
    const thread = warm.get(key) ?? openThread(entry);
    warm.delete(key);
    if (thread.idleTimer) clearTimeout(thread.idleTimer);
    thread.worker.ref();
    return thread;
  };

  const putThread = (key: string, thread: Thread): void => {
    if (idleMilliseconds === 0) return void thread.worker.terminate();
    warm.set(key, thread);
    thread.worker.unref();
    const forget = (): void => {
      if (warm.get(key) === thread) warm.delete(key);
    };
    thread.worker.once('exit', forget);
    thread.worker.once('error', forget);
    thread.idleTimer = setTimeout(() => {
      forget();
      void thread.worker.terminate();
    }, idleMilliseconds).unref();
  };

  return {
    start(recipe, options) {
      const key = 'model' in options ? options.model : recipe;
      const other = running.get(key)?.job;
      if (other) {
        const sentence = `${key} is busy: ${other.recipe} is running on it.`;
        throw userError('busy', sentence, 'Wait until it is done, or stop it.');
      }
      const thread = takeThread(key);
      const job = startJob(thread, recipe, options);
      const settled = job.finished.then(
        () => putThread(key, thread),
        // After an error the thread may hold anything: it is not used again.
        () => void thread.worker.terminate(),
      );
      running.set(key, { job, settled });
      void settled.finally(() => running.delete(key));
      return job;
    },
    async dispose() {
      const jobs = [...running.values()];
      for (const { job } of jobs) job.cancel();
      await Promise.race([Promise.all(jobs.map(({ settled }) => settled)), delay(graceMilliseconds)]);
      await Promise.all(jobs.map(({ job }) => job.kill()));
      await Promise.all([...warm.values()].map(({ worker }) => worker.terminate()));
      warm.clear();
    },
  };
}

/**
 * One job in a thread of its own, as a stream. Aborting the signal cancels it and lets it finish; leaving the loop early
 * ends the thread.
 */
export async function* runInWorker<Name extends CommandName>(
  recipe: Name,
  options: CommandOptions[Name],
  { signal, entry }: { readonly signal?: AbortSignal; readonly entry?: URL } = {},
): AsyncGenerator<JobEvents[Name], void> {
  const engine = createEngine(entry ? { entry, graceMilliseconds: 0 } : { graceMilliseconds: 0 });
  const job = engine.start(recipe, options);
  const cancel = (): void => job.cancel();
  signal?.addEventListener('abort', cancel);
  if (signal?.aborted) cancel();
  try {
    yield* job.read();
  } finally {
    signal?.removeEventListener('abort', cancel);
    await engine.dispose();
  }
}

function openThread(entry: URL): Thread {
  const cancelFlag = newCancelFlag();
  const data: ThreadData = { cancelFlag, entry: entry.href };
  const file = entry.pathname.endsWith('.ts') ? new URL('./source-thread.mjs', import.meta.url) : entry;
  return { worker: new Worker(file, { workerData: data, env: SHARE_ENV }), cancelFlag, idleTimer: null };
}

function startJob<Name extends CommandName>(
  { worker, cancelFlag }: Thread,
  recipe: Name,
  options: CommandOptions[Name],
): Job<Name> {
  const events = broadcast<JobEvents[Name]>();
  const post = (request: JobRequest): void => worker.postMessage(request);

  const onMessage = (reply: JobReply): void => {
    switch (reply.type) {
      case 'event':
        return events.push(reply.event as JobEvents[Name]);
      case 'ended':
        return settle(null);
      case 'failed':
        return settle(fromErrorRecord(reply.error));
    }
  };
  const onError = (error: Error): void => settle(crashError(recipe, error));
  const onExit = (code: number): void =>
    settle(new Error(`The engine stopped while ${recipe} was running (exit code ${code}).`));
  const settle = (error: Error | null): void => {
    worker.off('message', onMessage).off('error', onError).off('exit', onExit);
    events.end(error);
  };

  worker.on('message', onMessage).on('error', onError).on('exit', onExit);
  setCancelFlag(cancelFlag, false);
  post({ type: 'start', recipe, options } as JobRequest);

  return {
    recipe,
    finished: events.ended,
    read: () => events.read(),
    cancel: () => {
      setCancelFlag(cancelFlag, true);
      post({ type: 'cancel' });
    },
    kill: async () => {
      await worker.terminate();
    },
  };
}

function crashError(recipe: string, error: Error & { code?: unknown }): Error {
  if (error.code !== 'ERR_WORKER_OUT_OF_MEMORY') return error;
  const wayOut = 'Take a smaller batch or sequence length, or give Node more with NODE_OPTIONS=--max-old-space-size.';
  return userError('out-of-memory', `The engine ran out of memory in ${recipe}.`, wayOut, error);
}

/** From source `entry.ts` beside this file; bundled, `worker.js` beside the bundle. */
const defaultEntry = (): URL =>
  new URL(import.meta.url.endsWith('.ts') ? './entry.ts' : './worker.js', import.meta.url);

const delay = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => void setTimeout(resolve, milliseconds).unref());
