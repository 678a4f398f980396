/**
 * Host side: runs jobs in worker threads and passes their events to any number of readers. Jobs that decode with a model share a thread,
 * and so the model; other jobs of a model run one after the other in a second thread. Knows no model and never blocks.
 */
import { statSync } from 'node:fs';
import { UserError, userError } from '../../protocol/errors.ts';
import type { JobEvents, JobMessages, JobName, JobOptions } from '../../protocol/jobs.ts';
import { broadcast } from './broadcast.ts';
import { openThread, type HostThread, type ThreadJob } from './host-thread.ts';

export interface Job<Name extends JobName> {
  readonly recipe: Name;
  /** Settles with the job. Rejects with its error, a UserError if the user can mend it. */
  readonly finished: Promise<void>;
  /** Every event from now on; ends or throws with the job. A reader that leaves early does not stop the job. */
  read(): AsyncGenerator<JobEvents[Name], void>;
  /** Sends the recipe a message, once it runs. */
  send(message: JobMessages[Name]): void;
  /** Asks the recipe to stop at its next step and to keep its work; `finished` settles when it has. A job that waits ends at once. */
  cancel(): void;
}

export interface Engine {
  /**
   * Jobs that write with a model run side by side. Any other begins once earlier ones of the same model, by whatever path, are over.
   */
  start<Name extends JobName>(recipe: Name, options: JobOptions[Name]): Job<Name>;
  /** The job that a model runs now, other than jobs that write texts; null if there is none. */
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

/** Recipes that write texts with a model: their texts share its session. */
const writing: ReadonlySet<JobName> = new Set<JobName>(['generate', 'complete', 'serve']);

/** Errors after which a thread is not used again: its memory may be inconsistent, or too large. */
const isFatal = (error: unknown): boolean =>
  !(error instanceof UserError) || error.code === 'out-of-memory' || error.code === 'device';

/** The jobs of one model that share a thread, or take turns in it. */
interface Lane {
  thread: HostThread | null;
  idleTimer: NodeJS.Timeout | null;
  /** Jobs of this thread, in the order of their starts: those that run and those that wait. */
  readonly turns: Set<Turn>;
}

/** A job with its turn: `over` settles, never rejects, when the job is over. */
interface Turn {
  readonly job: Pick<Job<JobName>, 'recipe' | 'cancel'>;
  /** The thread that runs it; null while it waits. */
  thread: HostThread | null;
  over: Promise<void>;
}

export function createEngine(settings: EngineSettings = {}): Engine {
  const { entry = defaultEntry(), idleMilliseconds = 0, graceMilliseconds = 5_000 } = settings;
  const lanes = new Map<string, Lane>();
  const leaving = new Set<Promise<void>>();
  let disposed = false;

  const laneKey = (recipe: JobName, key: string): string => `${writing.has(recipe) ? 'write' : 'work'} ${key}`;

  const takeThread = (lane: Lane): HostThread => {
    if (lane.idleTimer !== null) clearTimeout(lane.idleTimer);
    lane.idleTimer = null;
    if (!lane.thread?.isAlive()) return (lane.thread = openThread(entry));
    lane.thread.hold(true);
    return lane.thread;
  };

  const dismiss = (thread: HostThread): void => {
    const left = thread.leave();
    leaving.add(left);
    void left.then(() => leaving.delete(left));
  };

  /** Nothing runs in the thread any more: it stays warm for a while, if it is still the lane's. */
  const rest = (key: string, lane: Lane, thread: HostThread): void => {
    if (lane.thread !== thread) return dismiss(thread);
    const end = (): void => {
      lane.thread = null;
      lane.idleTimer = null;
      if (lane.turns.size === 0) lanes.delete(key);
      dismiss(thread);
    };
    if (idleMilliseconds === 0 || disposed) return end();
    thread.hold(false);
    lane.idleTimer = setTimeout(end, idleMilliseconds).unref();
  };

  return {
    start<Name extends JobName>(recipe: Name, options: JobOptions[Name]): Job<Name> {
      const key = laneKey(recipe, 'model' in options ? modelKey(options.model) : recipe);
      const lane = lanes.get(key) ?? { thread: null, idleTimer: null, turns: new Set() };
      lanes.set(key, lane);
      const events = broadcast<JobEvents[Name]>();
      let running: ThreadJob | null = null;
      let cancelled = false;
      const unsent: JobMessages[Name][] = [];

      const work = async (): Promise<void> => {
        if (cancelled) return;
        try {
          const thread = (turn.thread = takeThread(lane));
          running = thread.run(recipe, options, (event) => events.push(event as JobEvents[Name]));
          for (const message of unsent.splice(0)) running.send(message);
          await running.finished;
          events.end(null);
        } catch (error) {
          if ((isFatal(error) || !writing.has(recipe)) && lane.thread === turn.thread) lane.thread = null;
          events.end(error as Error);
        }
      };
      const job: Job<Name> = {
        recipe,
        finished: events.ended,
        read: () => events.read(),
        send: (message) => (running ? running.send(message) : unsent.push(message)),
        cancel: () => {
          cancelled = true;
          if (running) running.cancel();
          else events.end(userError('cancelled', 'Cancelled.'));
        },
      };
      const before = writing.has(recipe) ? undefined : [...lane.turns].at(-1)?.over;
      const turn: Turn = { job, thread: null, over: Promise.resolve() };
      lane.turns.add(turn);
      turn.over = (before ? before.then(work) : work()).then(() => {
        lane.turns.delete(turn);
        const { thread } = turn;
        const others = [...lane.turns].some((other) => other.thread === thread);
        if (thread !== null && !others) rest(key, lane, thread);
        else if (lane.turns.size === 0 && lane.thread === null) lanes.delete(key);
      });
      return job;
    },
    running(model) {
      const [first] = lanes.get(`work ${modelKey(model)}`)?.turns ?? [];
      return first?.job.recipe ?? null;
    },
    async dispose() {
      disposed = true;
      const all = [...lanes.entries()];
      const turns = all.flatMap(([, lane]) => [...lane.turns]);
      for (const { job } of turns) job.cancel();
      for (const [key, lane] of all) {
        if (lane.idleTimer === null || lane.thread === null) continue;
        clearTimeout(lane.idleTimer);
        // An idle thread lets the process end, and then nobody would get to what follows `dispose`.
        lane.thread.hold(true);
        rest(key, lane, lane.thread);
      }
      const over = async (): Promise<void> => {
        await Promise.all(turns.map((turn) => turn.over));
        await Promise.all(leaving);
      };
      await Promise.race([over(), delay(graceMilliseconds)]);
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
  try {
    yield* runIn(engine, recipe, options, signal);
  } finally {
    await engine.dispose();
  }
}

/** One job of an engine as a stream, which ends or throws with the job. Aborting the signal cancels it and lets it finish. */
export async function* runIn<Name extends JobName>(
  engine: Engine,
  recipe: Name,
  options: JobOptions[Name],
  signal?: AbortSignal,
): AsyncGenerator<JobEvents[Name], void> {
  const job = engine.start(recipe, options);
  const cancel = (): void => job.cancel();
  signal?.addEventListener('abort', cancel);
  if (signal?.aborted) cancel();
  try {
    yield* job.read();
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}

/** Equal for every path to the same file, and new if the file is replaced. A path that cannot be read is left for the recipe to refuse. */
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
