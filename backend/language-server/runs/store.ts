/**
 * Runs on disk: `<folder>/<id>/run.json` has the description and the owner of a run, `events.jsonl` its reports. So a server that starts
 * later can take over a run if the server that began it has ended. Knows nothing of engines.
 */
import { appendFile, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TuneEvent } from '../../../protocol/events.ts';
import type { RecipeOptions, RunSummary } from '../../../protocol/server.ts';
import {
  anyRecord,
  list,
  nullable,
  number,
  oneOf,
  readMessage,
  record,
  text,
  type Shape,
} from '../../../protocol/shapes.ts';
import { modes, readTextBeside, renameFile } from '../../system/files.ts';
import { isRunning, processShape, type ProcessIdentity } from '../../system/processes.ts';

export interface RunRecord {
  summary: RunSummary;
  options: RecipeOptions;
  /** The process that runs it. */
  owner: ProcessIdentity | null;
}

export interface StoredRun {
  record: RunRecord;
  events: TuneEvent[];
}

export interface RunStore {
  load(): Promise<StoredRun[]>;
  /** One run as it is on disk now; null if there is none. */
  read(id: string): Promise<StoredRun | null>;
  /** Writes run.json under a temporary name and renames it. */
  save(record: RunRecord): Promise<void>;
  append(id: string, events: readonly TuneEvent[]): Promise<void>;
  /** File in which a run's text is kept while the run may still be resumed. */
  textFile(id: string): string;
  /** Resolves when all requested writes are done, or have failed. */
  settled(): Promise<void>;
}

/** JSON has no infinite numbers and writes null. */
const figure: Shape<number> = { read: (value, place) => (value === null ? 0 : number.read(value, place)) };

const recordShape: Shape<RunRecord> = record({
  summary: record(
    {
      id: text,
      title: text,
      state: oneOf('running', 'paused', 'stopped', 'finished', 'failed'),
      model: text,
      exits: list(text),
      directory: text,
      startedAt: text,
      step: figure,
      steps: figure,
      tokensPerSecond: figure,
      secondsLeft: figure,
      message: text,
    },
    { data: list(text), clock: record({ minutes: nullable(number), seconds: figure, since: nullable(text) }) },
  ),
  options: anyRecord,
  owner: nullable(processShape),
});

/** Whether a run's owner has ended. A silent owner may be on a machine that sleeps, and will go on. */
export const isOrphaned = ({ owner }: RunRecord): boolean => owner === null || !isRunning(owner);

export function runStore(folder: string): RunStore {
  // One write after the other for each run, so that an older state never lands on a newer one.
  const queues = new Map<string, Promise<void>>();
  /** Runs to whose events this process has added. */
  const appended = new Set<string>();
  const enqueue = (id: string, write: () => Promise<void>): Promise<void> => {
    const done = (queues.get(id) ?? Promise.resolve()).catch(() => {}).then(write);
    queues.set(id, done);
    return done;
  };
  return {
    async load() {
      const names = await readdir(folder).catch(() => []);
      const runs = await Promise.all(names.map((name) => loadRun(path.join(folder, name))));
      return runs.filter((run) => run !== null);
    },
    read: (id) => loadRun(path.join(folder, id)),
    save: (record) =>
      enqueue(record.summary.id, async () => {
        const directory = path.join(folder, record.summary.id);
        await mkdir(directory, { recursive: true, mode: modes.owner.folder });
        const file = path.join(directory, 'run.json');
        await writeFile(`${file}.partial`, JSON.stringify(record, null, 2), { mode: modes.owner.file });
        renameFile(`${file}.partial`, file);
      }),
    append: (id, events) =>
      enqueue(id, async () => {
        await mkdir(path.join(folder, id), { recursive: true, mode: modes.owner.folder });
        const lines = events.map((event) => `${JSON.stringify(event)}\n`).join('');
        // The last line of a process that was killed may be unfinished.
        const first = appended.has(id) ? '' : '\n';
        appended.add(id);
        await appendFile(path.join(folder, id, 'events.jsonl'), first + lines, { mode: modes.owner.file });
      }),
    textFile: (id) => path.join(folder, id, 'text.jsonl'),
    settled: async () => void (await Promise.allSettled(queues.values())),
  };
}

/** Null if the folder has no run, only half of one, or something else. */
async function loadRun(directory: string): Promise<StoredRun | null> {
  try {
    const file = path.join(directory, 'run.json');
    const record = readMessage(file, recordShape, JSON.parse((await readTextBeside(file)) ?? ''));
    // The id becomes a path again.
    if (record.summary.id !== path.basename(directory)) return null;
    const lines = (await readTextBeside(path.join(directory, 'events.jsonl'))) ?? '';
    return { record, events: lines.split('\n').flatMap(parseLine) };
  } catch {
    await rm(path.join(directory, 'run.json.partial'), { force: true });
    return null;
  }
}

/** A kill may leave the last line of a process unfinished. */
function parseLine(line: string): TuneEvent[] {
  try {
    return line === '' ? [] : [JSON.parse(line) as TuneEvent];
  } catch {
    return [];
  }
}
