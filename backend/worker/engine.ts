/**
 * Host side: runs jobs in worker threads and hands their events to any number of readers. Jobs of one model wait for each other; a
 * thread stays warm for the next job of its model for a while. Knows no model and never blocks.
 */
import { statSync } from 'node:fs';
import { userError } from '../../protocol/errors.ts';
import type { JobEvents, JobMessages, JobName, JobOptions } from '../../protocol/jobs.ts';
import { broadcast } from './broadcast.ts';
import { openThread, type HostThread } from './host-thread.ts';

export interface Job<Name extends JobName> {
  readonly recipe: Name;
  /** Settles with the job: rejects with its error, a UserError where the user can do something. */
  readonly finished: Promise<void>;
  /** Every event from now on; ends or throws with the job. A reader that leaves early does not stop the job. */
  read(): AsyncGenerator<JobEvents[Name], void>;
  /** Tells the recipe something, once it runs. */
  send(message: JobMessages[Name]): void;
  /** Asks the recipe to stop at its next step and to keep its work; `finished` tells when it has. A job that waits ends at once. */
  cancel(): void;
}

export interface Engine {
  /** Begins once earlier jobs of the same model, by whatever path, are over. */
  start<Name extends JobName>(recipe: Name, options: JobOptions[Name]): Job<Name>;
  /** What runs on a model now. */
  running(model: string): JobName | null;
  /** Cancels every job, waits a little, and lets every thread end. A job that does not stop is left to the end of the process. */
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

interface WarmThread {
  readonly thread: HostThread;
  readonly idleTimer: NodeJS.Timeout;
}

/** A job with its turn: `over` settles, never rejects, when the next one of its model may begin. */
interface Turn {
  readonly job: Pick<Job<JobName>, 'recipe' | 'cancel'>;
  readonly over: Promise<void>;
}

export function createEngine(settings: EngineSettings = {}): Engine {
  const { entry = defaultEntry(), idleMilliseconds = 0, graceMilliseconds = 5_000 } = settings;
  /** By model: the job that runs, then those that wait. */
  const lines = new Map<string, Turn[]>();
  const warm = new Map<string, WarmThread>();
  const leaving = new Set<Promise<void>>();
  let disposed = false;

  const takeThread = (key: string): HostThread => {
    const kept = warm.get(key);
    warm.delete(key);
    clearTimeout(kept?.idleTimer);
    if (!kept?.thread.isAlive()) return openThread(entry);
    kept.thread.hold(true);
    return kept.thread;
  };

  const dismiss = (thread: HostThread): void => {
    const left = thread.leave();
    leaving.add(left);
    void left.then(() => leaving.delete(left));
  };

  const putThread = (key: string, thread: HostThread): void => {
    if (idleMilliseconds === 0 || disposed) return dismiss(thread);
    thread.hold(false);
    const idleTimer = setTimeout(() => {
      warm.delete(key);
      dismiss(thread);
    }, idleMilliseconds).unref();
    warm.set(key, { thread, idleTimer });
  };

  return {
    start<Name extends JobName>(recipe: Name, options: JobOptions[Name]): Job<Name> {
      const key = 'model' in options ? modelKey(options.model) : recipe;
      const line = lines.get(key) ?? [];
      lines.set(key, line);
      const events = broadcast<JobEvents[Name]>();
      let thread: HostThread | null = null;
      let cancelled = false;
      const unsent: JobMessages[Name][] = [];

      const work = async (): Promise<void> => {
        if (cancelled) return;
        thread = takeThread(key);
        try {
          const over = thread.run(recipe, options, (event) => events.push(event as JobEvents[Name]));
          for (const message of unsent.splice(0)) thread.send(message);
          await over;
          putThread(key, thread);
          events.end(null);
        } catch (error) {
          // After an error the thread may hold anything: it is not used again.
          dismiss(thread);
          events.end(error as Error);
        }
      };
      const before = line.at(-1)?.over;
      const over = (before ? before.then(work) : work()).then(() => {
        line.shift();
        if (line.length === 0) lines.delete(key);
      });
      const job: Job<Name> = {
        recipe,
        finished: events.ended,
        read: () => events.read(),
        send: (message) => (thread ? thread.send(message) : unsent.push(message)),
        cancel: () => {
          cancelled = true;
          if (thread) thread.cancel();
          else events.end(userError('cancelled', 'Cancelled.'));
        },
      };
      line.push({ job, over });
      return job;
    },
    running: (model) => lines.get(modelKey(model))?.[0]?.job.recipe ?? null,
    async dispose() {
      disposed = true;
      const turns = [...lines.values()].flat();
      for (const { job } of turns) job.cancel();
      const idle = [...warm.values()];
      warm.clear();
      for (const { thread, idleTimer } of idle) {
        clearTimeout(idleTimer);
        dismiss(thread);
      }
      const all = async (): Promise<void> => {
        await Promise.all(turns.map(({ over }) => over));
        await Promise.all(leaving);
      };
      await Promise.race([all(), delay(graceMilliseconds)]);
    },
  };
}

/**
 * One job in a thread of its own, as a stream. Aborting the signal cancels it and lets it finish; so does leaving the loop early.
 */
export async function* runInWorker<Name extends JobName>(
  recipe: Name,
  options: JobOptions[Name],
  { signal, entry }: { readonly signal?: AbortSignal; readonly entry?: URL } = {},
): AsyncGenerator<JobEvents[Name], void> {
  const engine = createEngine({ ...(entry && { entry }), graceMilliseconds: Infinity });
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

/** The same for every path to a model, and another once other files are there. What cannot be looked at is for the recipe to refuse. */
function modelKey(model: string): string {
  try {
    const { dev, ino } = statSync(model, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return model;
  }
}

/** From source `entry.ts` beside this file; bundled, `worker.js` beside the bundle. */
const defaultEntry = (): URL =>
  new URL(import.meta.url.endsWith('.ts') ? './entry.ts' : './worker.js', import.meta.url);

const delay = (milliseconds: number): Promise<void> =>
  milliseconds === Infinity
    ? new Promise(() => {})
    : new Promise((resolve) => void setTimeout(resolve, milliseconds).unref());
