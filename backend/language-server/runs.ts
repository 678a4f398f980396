/**
 * Tuning runs as a person sees them: started, paused, stopped, taken up again. A pause lets the recipe save and end; to
 * resume is to start it again with `resume`. So a run outlives its server: the next one takes it up from the checkpoint.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { describeError, UserError, userError } from '../../protocol/errors.ts';
import { parseOptions, settingOrigin, type TuneOptions } from '../../protocol/options.ts';
import * as clocks from '../../protocol/run-clock.ts';
import type { TuneEvent } from '../../protocol/events.ts';
import type { RecipeOptions, RunEvent, RunState, RunSummary } from '../../protocol/server.ts';
import { absolutePatterns } from '../data/documents.ts';
import type { Engine, Job } from '../worker/engine.ts';
import { resolveModel } from '../worker/shipped.ts';
import { identityOf } from '../formats/processes.ts';
import { isOrphaned, type RunRecord, type RunStore } from './run-store.ts';
import { progressOf } from './run-texts.ts';
import { snapshotText } from './snapshot.ts';

export interface Runs {
  /** Folder to which relative patterns of its data refer; by default the server's working directory. */
  start(title: string, options: RecipeOptions, folder?: string): Promise<RunSummary>;
  stop(id: string): Promise<RunSummary>;
  pause(id: string): Promise<RunSummary>;
  resume(id: string): Promise<RunSummary>;
  list(): RunSummary[];
  read(id: string, from: number): { run: RunSummary; events: RunEvent[] };
  /** Reads the recorded runs; with `take`, resumes those whose server has ended. */
  load(take: boolean): Promise<void>;
  /** Leaves running runs on record as they are, so that the next server takes them up. */
  dispose(): Promise<void>;
}

export interface RunsOptions {
  readonly engine: Engine;
  /** Null keeps runs in memory only. */
  readonly store: RunStore | null;
  readonly reported: (event: RunEvent) => void;
  readonly changed: (run: RunSummary) => void;
  /** Called once if a run could not be recorded; the run goes on. */
  readonly warn: (message: string) => void;
}

interface Outcome {
  readonly state: RunState;
  readonly message: string;
}

interface Live {
  record: RunRecord;
  readonly events: TuneEvent[];
  job: Job<'tune'> | null;
  /** Its text is being read or its job runs. */
  active: boolean;
  /** The state of the run when its job has ended; null if it ends on its own. */
  intent: 'paused' | 'stopped' | null;
  /** Settles when the job's events are all handled. */
  followed: Promise<void>;
}

export function createRuns({ engine, store, reported, changed, warn }: RunsOptions): Runs {
  const runs = new Map<string, Live>();
  const elsewhere = new Set<string>();
  const self = identityOf(process.pid);
  let leaving = false;
  let warned = false;

  const record = (write: Promise<void> | undefined): void => {
    write?.catch((error: unknown) => {
      if (!warned) warn(`Runs cannot be recorded: ${describeError(error)}`);
      warned = true;
    });
  };
  const save = (live: Live): void => {
    const { summary } = live.record;
    const owner = summary.state === 'running' ? self : null;
    live.record = { summary: withClock(summary, clocks.ticked), options: live.record.options, owner };
    record(store?.save(live.record));
  };
  const update = (live: Live, change: Partial<RunSummary>): RunSummary => {
    live.record = { ...live.record, summary: { ...live.record.summary, ...change } };
    changed(live.record.summary);
    return live.record.summary;
  };
  const saving = setInterval(() => {
    for (const live of runs.values()) if (live.active) save(live);
  }, SAVE_MILLISECONDS).unref();

  const find = (id: string): Live => {
    const live = runs.get(id);
    if (!live) throw userError('not-found', `There is no run ${id} on record.`);
    return live;
  };
  /** Finds a run that no other window owns: a window alone writes the records of its own runs. */
  const findOwn = (id: string): Live => {
    const live = find(id);
    const { summary, owner } = live.record;
    if (live.active || summary.state !== 'running' || isOrphaned(live.record)) return live;
    throw userError(
      'busy',
      `Another window runs ${summary.title} (process ${owner!.pid}).`,
      'Pause or stop it there, or close that window.',
    );
  };

  /** Throws if the options are wrong; any other error ends the run itself. */
  const begin = (live: Live, resume: boolean): void => {
    // One that ended before its first checkpoint begins again.
    const goesOn = resume && hasWork(live);
    // A resumed run keeps its own limits: if they were given again, they would be added to what is done.
    const limits = goesOn ? { minutes: undefined, steps: undefined, epochs: undefined } : {};
    const options = parseOptions('tune', { ...live.record.options, ...limits, resume: goesOn }, settingOrigin);
    live.intent = null;
    live.active = true;
    live.record = { ...live.record, summary: withClock(live.record.summary, clocks.started) };
    live.followed = follow(live, { ...options, model: resolveModel(options.model) });
  };

  /** The run's text as it was in the beginning, if runs are recorded. */
  const textOf = async (live: Live, { data }: TuneOptions): Promise<readonly string[]> => {
    if (!store) return data;
    const file = store.textFile(live.record.summary.id);
    if (!existsSync(file)) await snapshotText(data, file);
    return [file];
  };

  const follow = async (live: Live, options: TuneOptions): Promise<void> => {
    const { id } = live.record.summary;
    let outcome: Outcome | null = null;
    try {
      const data = await textOf(live, options);
      if (leaving || live.intent !== null) return;
      const other = engine.running(options.model);
      if (other !== null) update(live, { message: `Waiting until ${other} is done with this model …` });
      const job = (live.job = engine.start('tune', { ...options, data }));
      for await (const event of job.read()) {
        const index = live.events.push(event) - 1;
        record(store?.append(id, [event]));
        reported({ id, index, event });
        const change = summaryChange(event);
        if (change) update(live, change);
        if (event.type === 'tuned' && !event.stopped) outcome = { state: 'finished', message: 'Done.' };
      }
      await job.finished;
    } catch (error) {
      const isIntended = live.intent !== null && error instanceof UserError && error.code === 'cancelled';
      if (!isIntended) outcome = { state: 'failed', message: describeError(error) };
    } finally {
      finish(live, outcome ?? ended(live, live.intent ?? 'stopped'));
    }
  };

  const finish = (live: Live, outcome: Outcome): void => {
    live.job = null;
    live.active = false;
    const summary = withClock(live.record.summary, clocks.stopped);
    live.record = { ...live.record, summary };
    if (leaving) {
      // Left on record as running and without an owner: the next window takes it up.
      live.record = { ...live.record, owner: null };
      record(store?.save(live.record));
      return;
    }
    update(live, outcome);
    save(live);
    // A finished run is not taken up again.
    if (outcome.state === 'finished' && store) void rm(store.textFile(live.record.summary.id), { force: true });
  };

  const end = async (id: string, intent: 'paused' | 'stopped'): Promise<RunSummary> => {
    const live = findOwn(id);
    if (live.active) {
      live.intent = intent;
      live.job?.cancel();
      update(live, { message: intent === 'paused' ? 'Saving, then pausing …' : 'Saving, then stopping …' });
      await live.followed;
    } else if (intent === 'stopped') {
      update(live, ended(live, 'stopped'));
      save(live);
    }
    return live.record.summary;
  };

  const resume = (id: string): RunSummary => {
    const live = findOwn(id);
    if (live.active) return live.record.summary;
    begin(live, true);
    const summary = update(live, { state: 'running', message: 'Taking up the run …' });
    save(live);
    return summary;
  };

  const takeUp = (id: string, take: boolean): void => {
    const live = find(id);
    if (!take) {
      update(live, { state: 'paused', message: 'Interrupted; resume it to go on.' });
      return;
    }
    try {
      resume(id);
    } catch (error) {
      update(live, { state: 'failed', message: describeError(error) });
      save(live);
    }
  };

  /** The server before this one may still be saving its run: looks until it is gone. */
  const waitForOwner = async (id: string, take: boolean): Promise<void> => {
    for (;;) {
      await delay(OWNER_POLL_MILLISECONDS);
      const stored = await store?.read(id);
      if (leaving || !stored) return;
      const live = find(id);
      if (live.active) return;
      live.record = stored.record;
      live.events.splice(0, Infinity, ...stored.events);
      update(live, {});
      if (stored.record.summary.state !== 'running') return;
      if (isOrphaned(stored.record)) return takeUp(id, take);
    }
  };

  return {
    async start(title, options, folder) {
      const { model, out, data, minutes } = parseOptions('tune', options, settingOrigin);
      const id = newId();
      const summary: RunSummary = {
        id,
        title,
        state: 'running',
        model,
        exits: [],
        directory: out ?? '',
        startedAt: new Date().toISOString(),
        step: 0,
        steps: 0,
        tokensPerSecond: 0,
        secondsLeft: 0,
        clock: { minutes, seconds: 0, since: null },
        message: 'Starting …',
      };
      const live: Live = {
        record: { summary, options: { ...options, data: absolutePatterns(data, folder) }, owner: null },
        events: [],
        job: null,
        active: false,
        intent: null,
        followed: Promise.resolve(),
      };
      begin(live, false);
      runs.set(id, live);
      save(live);
      changed(live.record.summary);
      return live.record.summary;
    },
    stop: (id) => end(id, 'stopped'),
    pause: (id) => end(id, 'paused'),
    resume: async (id) => resume(id),
    list: () =>
      [...runs.values()].map((live) => live.record.summary).sort((a, b) => b.startedAt.localeCompare(a.startedAt)),
    read(id, from) {
      const live = find(id);
      const events = live.events.slice(from).map((event, i) => ({ id, index: from + i, event }));
      return { run: live.record.summary, events };
    },
    async load(take) {
      for (const { record: found, events } of (await store?.load()) ?? []) {
        const { id, state } = found.summary;
        if (runs.has(id)) continue;
        const isWorking = state === 'running' && !isOrphaned(found);
        const summary = isWorking ? found.summary : withClock(found.summary, halted);
        runs.set(id, {
          record: { ...found, summary },
          events,
          job: null,
          active: false,
          intent: null,
          followed: Promise.resolve(),
        });
        if (state !== 'running') continue;
        if (isOrphaned(found)) takeUp(id, take);
        else elsewhere.add(id);
      }
      for (const id of elsewhere) void waitForOwner(id, take);
    },
    async dispose() {
      leaving = true;
      clearInterval(saving);
      for (const live of runs.values()) live.job?.cancel();
      await Promise.all([...runs.values()].map((live) => live.followed));
      await store?.settled();
    },
  };
}

/** The end of a server that is gone is not known, so the time of its last record counts. */
const halted = (clock: clocks.RunClock): clocks.RunClock => ({ ...clock, since: null });

const withClock = (summary: RunSummary, change: typeof clocks.started): RunSummary =>
  summary.clock ? { ...summary, clock: change(summary.clock, Date.now()) } : summary;

/** Whether the run has come to its first checkpoint. */
const hasWork = ({ record: { summary } }: Live): boolean => existsSync(path.join(summary.directory, 'exits.json'));

/** A run that was ended before its own end. */
const ended = (live: Live, state: 'paused' | 'stopped'): Outcome => {
  const kept = hasWork(live) ? 'the work is kept' : 'there was no work to keep yet';
  return { state, message: `${state === 'paused' ? 'Paused' : 'Stopped'}; ${kept}.` };
};

/** What an event changes of the run's line. */
export function summaryChange(event: TuneEvent): Partial<RunSummary> | null {
  switch (event.type) {
    case 'step': {
      const { step, steps, tokensPerSecond, secondsLeft } = event;
      const exits = Object.keys(event.losses).filter((exit) => exit !== 'final');
      return { step, steps, tokensPerSecond, secondsLeft, exits, message: `Step ${step} of ${steps}` };
    }
    case 'phase':
    case 'progress':
      return { message: progressOf(event).message };
    case 'ready':
      return { exits: event.exits.map(({ exit }) => exit), message: `${event.model} on ${event.device}` };
    case 'saved':
      return { directory: event.path };
    case 'tuned':
      return { directory: event.directory, step: event.step, secondsLeft: 0 };
    case 'calibrated':
      return { message: `Calibrated: ${event.fastest} is fastest` };
    case 'memory':
    case 'planned':
    case 'minutes':
    case 'evaluation':
    case 'expected':
    case 'note':
    case 'warning':
      return null;
  }
}

/** What other windows show of a run is at most so old. */
const SAVE_MILLISECONDS = 2_000;
const OWNER_POLL_MILLISECONDS = 500;
const delay = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => void setTimeout(resolve, milliseconds).unref());

/** Sortable by time, unique within a machine. */
const newId = (): string => `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
