/**
 * Tuning runs as a person sees them: started, paused, stopped, resumed. A pause lets the recipe save and end; to resume is to start it
 * again with `resume`. So a run outlives its server: the next server continues from the checkpoint.
 */
import { describeError, userError } from '../../../protocol/errors.ts';
import { lengthOf, parseOptions, settingOrigin, type TuneOptions } from '../../../protocol/options/options.ts';
import * as clocks from '../../../protocol/run-clock.ts';
import type { RecipeOptions, RunEvent, RunSummary } from '../../../protocol/server.ts';
import { absolutePatterns } from '../../data/texts/documents.ts';
import type { Engine } from '../../worker/engine.ts';
import { resolveModel } from '../../recipes/at-hand/shipped-model.ts';
import { openLedger, type Ledger, type LedgerOptions } from './ledger.ts';
import { ended, hasWork, newLive, withClock, type Live, type Outcome } from './live.ts';
import { isOrphaned, type RunStore } from './store.ts';
import { runSitting } from './sitting.ts';

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
  /** Leaves running runs recorded as running, so that the next server resumes them, unless the user is ending them. */
  dispose(): Promise<void>;
}

export interface RunsOptions extends LedgerOptions {
  readonly engine: Engine;
}

export function createRuns({ engine, ...options }: RunsOptions): Runs {
  const { store } = options;
  const ledger = openLedger(options);
  const runs = new Map<string, Live>();
  let leaving = false;
  const isLeaving = (): boolean => leaving;

  const saving = setInterval(() => {
    for (const live of runs.values()) if (live.active) ledger.save(live);
  }, SAVE_MILLISECONDS).unref();

  const find = (id: string): Live => {
    const live = runs.get(id);
    if (!live) throw userError('not-found', `There is no run ${id} on record.`);
    return live;
  };
  const findOwn = (id: string): Live => ownOrRefuse(find(id));

  /** Throws if the options are wrong; any other error ends the run itself. */
  const begin = (live: Live, resume: boolean): void => {
    const tune = tuneOptions(live, resume);
    live.intent = null;
    live.active = true;
    const summary = resume && !hasWork(live) ? fromTheStart(live.record.summary) : live.record.summary;
    live.record = { ...live.record, summary: withClock(summary, clocks.started) };
    live.followed = runSitting(engine, ledger, live, tune, isLeaving).then((outcome) => finish(live, outcome));
  };

  const finish = (live: Live, outcome: Outcome): void => {
    live.job = null;
    live.active = false;
    live.record = { ...live.record, summary: withClock(live.record.summary, clocks.stopped) };
    // One that the user ends, or that has ended by itself, is not resumed by the next process.
    if (leaving && live.intent === null && outcome.state !== 'finished') return ledger.release(live);
    ledger.update(live, outcome);
    ledger.save(live);
    if (outcome.state === 'finished') ledger.dropText(live);
  };

  const end = async (id: string, intent: 'paused' | 'stopped'): Promise<RunSummary> => {
    const live = findOwn(id);
    if (live.active) {
      live.intent = intent;
      live.job?.cancel();
      ledger.update(live, { message: intent === 'paused' ? 'Saving, then pausing …' : 'Saving, then stopping …' });
      await live.followed;
    } else if (intent === 'stopped') {
      ledger.update(live, ended(live, 'stopped'));
      ledger.save(live);
    }
    return live.record.summary;
  };

  const resume = (live: Live): RunSummary => {
    if (live.active) return live.record.summary;
    begin(live, true);
    const summary = ledger.update(live, { state: 'running', message: 'Taking up the run …' });
    ledger.save(live);
    return summary;
  };

  /** A run that is recorded as running and whose server has ended: it is resumed, or waits for the user. */
  const takeUp = (live: Live, take: boolean): void => {
    if (!take) {
      ledger.update(live, { state: 'paused', message: 'Interrupted; resume it to go on.' });
      return;
    }
    try {
      resume(live);
    } catch (error) {
      ledger.update(live, { state: 'failed', message: describeError(error) });
      ledger.save(live);
    }
  };

  return {
    async start(title, given, folder) {
      const live = newRun(title, given, folder);
      begin(live, false);
      const { summary } = live.record;
      runs.set(summary.id, live);
      ledger.save(live);
      return ledger.update(live, {});
    },
    stop: (id) => end(id, 'stopped'),
    pause: (id) => end(id, 'paused'),
    resume: async (id) => resume(findOwn(id)),
    list: () =>
      [...runs.values()].map((live) => live.record.summary).sort((a, b) => b.startedAt.localeCompare(a.startedAt)),
    read(id, from) {
      const live = find(id);
      const events = live.events.slice(from).map((event, i) => ({ id, index: from + i, event }));
      return { run: live.record.summary, events };
    },
    async load(take) {
      for (const { record, events } of (await store?.load()) ?? []) {
        const { id, state } = record.summary;
        if (runs.has(id)) continue;
        const isElsewhere = state === 'running' && !isOrphaned(record);
        const summary = isElsewhere ? record.summary : withClock(record.summary, halted);
        const live = newLive({ ...record, summary }, events);
        runs.set(id, live);
        if (isElsewhere) void isLeftRunning(live, ledger, store!, isLeaving).then((left) => left && takeUp(live, take));
        else if (state === 'running') takeUp(live, take);
      }
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

/** @throws UserError if the options are wrong. */
function newRun(title: string, options: RecipeOptions, folder: string | undefined): Live {
  const parsed = parseOptions('tune', options, settingOrigin);
  const { model, out } = parsed;
  const summary: RunSummary = {
    id: newId(),
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
    data: absolutePatterns(parsed.data, folder),
    clock: { minutes: lengthOf(parsed).minutes, seconds: 0, since: null },
    message: 'Starting …',
  };
  return newLive({ summary, options: { ...options, data: summary.data }, owner: null });
}

const fromTheStart = (summary: RunSummary): RunSummary => ({
  ...summary,
  step: 0,
  ...(summary.clock && { clock: { ...summary.clock, seconds: 0 } }),
});

/** The options of the next part of a run. @throws UserError if they are wrong. */
function tuneOptions(live: Live, resume: boolean): TuneOptions {
  // One that ended before its first checkpoint begins again.
  const goesOn = resume && hasWork(live);
  // A resumed run keeps its own folder and limits: if limits were given again, they would be added to what is done.
  const own = { out: live.record.summary.directory, minutes: undefined, steps: undefined, epochs: undefined };
  const options = parseOptions('tune', { ...live.record.options, ...(goesOn && own), resume: goesOn }, settingOrigin);
  // Exits whose model is trained further know that model.
  return options.continuePretraining === null ? { ...options, model: resolveModel(options.model) } : options;
}

/** A window alone writes the records of its own runs. @throws UserError for a run of another window. */
function ownOrRefuse(live: Live): Live {
  const { summary, owner } = live.record;
  if (live.active || summary.state !== 'running' || isOrphaned(live.record)) return live;
  throw userError(
    'busy',
    `Another window runs ${summary.title} (process ${owner!.pid}).`,
    'Pause or stop it there, or close that window.',
  );
}

/** Looks at a run of another server, which may still be saving it, until that has ended it (false) or is gone (true). */
async function isLeftRunning(live: Live, ledger: Ledger, store: RunStore, isLeaving: () => boolean): Promise<boolean> {
  for (;;) {
    await delay(OWNER_POLL_MILLISECONDS);
    const stored = await store.read(live.record.summary.id);
    if (isLeaving() || !stored || live.active) return false;
    live.record = stored.record;
    live.events.splice(0, Infinity, ...stored.events);
    ledger.update(live, {});
    if (stored.record.summary.state !== 'running') return false;
    if (isOrphaned(stored.record)) return true;
  }
}

/** The end of a server that is gone is not known, so the time of its last record counts. */
const halted = (clock: clocks.RunClock): clocks.RunClock => ({ ...clock, since: null });

/** What other windows show of a run is at most so old. */
const SAVE_MILLISECONDS = 2_000;
const OWNER_POLL_MILLISECONDS = 500;
const delay = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => void setTimeout(resolve, milliseconds).unref());

/** Sortable by time, unique within a machine. */
const newId = (): string => `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
