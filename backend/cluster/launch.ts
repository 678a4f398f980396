/**
 * Starts ranks, and finds them again: torchrun's own launcher on this machine or on hosts, a job of Ray, a script for Slurm. The run's
 * folder has everything needed to find a job again, so the process that started it may end. Knows nothing of what the ranks compute.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { userError } from '../../protocol/errors.ts';
import type { PhaseEvent } from '../../protocol/events.ts';
import { placeText, ranksOf, type Mesh, type Place } from '../../protocol/options-place.ts';
import { jobFolder } from '../checkpoint/checkpoint.ts';
import { openRangeFile, statOf, writeFileAtomically } from '../system/files.ts';
import { isCertainlyRunning, isRunning, type ProcessIdentity } from '../system/processes.ts';
import { newLinesOf, once, type RunningJob } from './follow.ts';
import { readHandle, writeHandle, type JobHandle } from './handle.ts';
import { packageName } from './job.ts';
import { rayJobEnd, stopRayJob, submitRayJob } from './ray.ts';
import { eventType, type RankEvent } from './reported.ts';
import { hasSlurmJob, slurmJobNumber, slurmScript } from './slurm.ts';
import { startLaunchers } from './torchrun.ts';

const eventsFile = 'events.jsonl';
const logFile = 'launch.log';
/** A file that exists once the job is asked to stop; see job.py. */
const stopFile = 'stop';
/** How long to wait for launchers: first after asking them to end when there is nothing to keep yet, then after ending them. */
const graceMilliseconds = { SIGTERM: 1_500, SIGKILL: 500 } as const;
/** Shortest time between two queries of Slurm's queue, which all users of a cluster share, or of a Ray cluster. */
const queueMilliseconds = 10_000;
const rayMilliseconds = 1_000;

const folderOf = (directory: string): string => path.join(path.resolve(directory), jobFolder);

/** What starts the ranks, and their mesh. */
export interface Ranks {
  readonly place: Place;
  readonly mesh: Mesh;
}

/**
 * Starts the job that `writeJob` wrote.
 * @throws UserError if the launcher is missing, or refuses.
 */
export async function startJob(directory: string, ranks: Ranks, signal: AbortSignal): Promise<JobHandle> {
  const folder = folderOf(directory);
  const handle = await start(folder, ranks, signal);
  writeHandle(folder, handle);
  return handle;
}

/**
 * The job of a folder that runs, or that reached its end while no command followed it; null if there is none to follow. If one was asked to
 * stop, its end is awaited. `place`: where the user says that it runs.
 * @throws the signal's reason if it was aborted meanwhile.
 * @throws UserError if the folder does not say what runs, or names a cluster that the user does not.
 */
export async function* findJob(
  directory: string,
  place: Place,
  signal: AbortSignal,
): AsyncGenerator<PhaseEvent, JobHandle | null> {
  const folder = folderOf(directory);
  const handle = readHandle(folder);
  if (handle === null) return null;
  // The folder may come from others: only a cluster that the user names is contacted, and gets a token.
  if (handle.kind === 'ray' && !(place.kind === 'ray' && place.url === handle.url))
    throw userError(
      'bad-argument',
      `The job in ${directory} runs on the Ray cluster at ${handle.url}.`,
      `If that is yours, name it: --on ${placeText(handle)}.`,
    );
  const job = runningJob(directory, handle);
  const isOver = async (): Promise<boolean> => (await job.ended()) !== null;
  const reported = new Set<RankEvent['type'] | null>();
  const reports = async (type: RankEvent['type']): Promise<boolean> => {
    for (const line of (await job.lines()).split('\n')) reported.add(eventType(line));
    return reported.has(type);
  };
  if (existsSync(path.join(folder, stopFile)) || (await reports('failed'))) {
    yield { type: 'phase', phase: 'load', detail: 'the job that was stopped, once it has ended' };
    while (!(await isOver()) && !(await reports('finished'))) await setTimeout(200, undefined, { signal });
    return null;
  }
  // Checked before the lines are read, as in following.
  return !(await isOver()) || (await reports('finished')) ? handle : null;
}

export function runningJob(directory: string, handle: JobHandle): RunningJob {
  const folder = folderOf(directory);
  const newLines = newLinesOf(path.join(folder, eventsFile));
  const lines = async (): Promise<string> => newLines();
  switch (handle.kind) {
    case 'ray':
      return { lines, ended: once(rayMilliseconds, () => rayJobEnd(handle.url, handle.id)) };
    case 'slurm':
      return { lines, ended: slurmEnd(folder) };
    case 'processes':
      return {
        lines,
        ended: async () => (handle.processes.some(isRunning) ? null : lastWords(path.join(folder, logFile))),
      };
  }
}

/** Stopping a job that is still in the queue does not wait: once it begins, it ends on its own. */
function slurmEnd(folder: string): RunningJob['ended'] {
  const hasJob = once(queueMilliseconds, async () => hasSlurmJob(slurmJobNumber(folder)!));
  return async () => {
    if (slurmJobNumber(folder) !== null) return (await hasJob()) ? null : lastWords(path.join(folder, logFile));
    return existsSync(path.join(folder, stopFile))
      ? 'The job was stopped before Slurm began it; scancel takes it out of the queue.'
      : null;
  };
}

/** Sends a signal to a process group, given as a negative number. */
export type Kill = (group: number, signal: NodeJS.Signals) => unknown;

/** Asks a job to keep its work and end at its next update; before its first checkpoint there is nothing to keep. */
export async function stopJob(
  directory: string,
  handle: JobHandle,
  hasWork: boolean,
  kill: Kill = (group, signal) => process.kill(group, signal),
): Promise<void> {
  writeFileAtomically(path.join(folderOf(directory), stopFile), []);
  if (handle.kind === 'ray' && !hasWork) return stopRayJob(handle.url, handle.id);
  if (handle.kind === 'processes' && !hasWork) await endProcesses(handle.processes, kill);
}

/** Ends launchers and their children. A process that may be another one by now is not signalled. */
async function endProcesses(processes: readonly ProcessIdentity[], kill: Kill): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    for (const process of processes) if (isCertainlyRunning(process)) kill(-process.pid, signal);
    const until = Date.now() + graceMilliseconds[signal];
    while (Date.now() < until && processes.some(isCertainlyRunning)) await setTimeout(50);
  }
}

async function start(folder: string, { place, mesh }: Ranks, signal: AbortSignal): Promise<JobHandle> {
  switch (place.kind) {
    case 'here':
      throw new Error('a job that is tuned here needs no launcher');
    case 'ray': {
      const words = [path.dirname(folder), String(ranksOf(mesh))];
      const environment = { env_vars: { PYTHONPATH: folder } };
      const id = await submitRayJob(place.url, `${packageName}.on_ray`, words, environment);
      return { kind: 'ray', url: place.url, id };
    }
    case 'slurm':
      writeFileAtomically(path.join(folder, 'job.sh'), [slurmScript(folder, logFile, mesh)]);
      return { kind: 'slurm' };
    case 'torchrun':
      return { kind: 'processes', processes: await startLaunchers(folder, logFile, place.hosts, mesh, signal) };
  }
}

/** Size of the end of a log in which its last line is searched, in bytes. */
const tailBytes = 2 ** 16;

function lastWords(file: string): string {
  const line = tailOf(file).trim().split('\n').at(-1)!.trim();
  return `The ranks ended without a word of how${line ? ` (${line.slice(0, 200)})` : ''}; see ${file}.`;
}

function tailOf(file: string): string {
  if (statOf(file) === null) return '';
  const log = openRangeFile(file);
  try {
    const bytes = Math.min(log.size, tailBytes);
    return Buffer.from(log.read(log.size - bytes, bytes)).toString();
  } finally {
    log.close();
  }
}
