/**
 * Starts ranks, and finds them again: torchrun's own launcher on this machine or on hosts, a job of Ray, a script for Slurm. The run's
 * folder has everything needed to find a job again, so the process that started it may end. Knows nothing of what the ranks compute.
 */
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { UserError, userError } from '../../protocol/errors.ts';
import type { PhaseEvent } from '../../protocol/events.ts';
import { placeText, ranksOf, type Mesh, type Place } from '../../protocol/options/place.ts';
import { shown } from '../../protocol/shown.ts';
import { isCheckpoint, jobFolder } from '../checkpoint/checkpoint.ts';
import { openRangeFile, statOf, writeFileAtomically } from '../system/files.ts';
import { isCertainlyRunning, isRunning, type ProcessIdentity } from '../system/processes.ts';
import { newLinesOf, once, type RunningJob } from './follow.ts';
import { hasHandle, readHandle, removeHandle, writeHandle, type JobHandle, type RayHandle } from './handle.ts';
import { packageName } from './job.ts';
import { hasRayJob, newRayJobId, rayJobEnd, stopRayJob, submitRayJob } from './ray.ts';
import { eventOrNull, type FinishedEvent } from './reported.ts';
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
const rayPatienceMilliseconds = 5 * 60_000;

const folderOf = (directory: string): string => path.join(path.resolve(directory), jobFolder);

/** What starts the ranks, and their mesh. */
export interface Ranks {
  readonly place: Place;
  readonly mesh: Mesh;
  /** Of a node of Slurm; null if that is not known. */
  readonly gpusOfNode: number | null;
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

/** Whether a job was started in a folder, or may have been. */
export const isStarted = (directory: string): boolean => hasHandle(folderOf(directory));

/**
 * The job of a folder that runs, or that reached its end while no command followed it; null if there is none to follow. If one was asked to
 * stop, its end is awaited. `place`: where the user says that it runs.
 * @throws the signal's reason if it was aborted meanwhile.
 * @throws UserError if the folder does not say what runs, or names a cluster that the user does not, or another machine.
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
  const reported = endReports(job);
  const isOver = async (): Promise<boolean> => (await job.ended()) !== null;
  const { finished, failed } = await reported();
  if (finished === null && !failed) requireThisMachine(directory, handle);
  if (existsSync(path.join(folder, stopFile)) || failed) {
    if (failed && handle.kind === 'slurm') await requireSlurm(directory);
    yield { type: 'phase', phase: 'load', detail: 'the job that was stopped, once it has ended' };
    while (!(await isOver()) && (await reported()).finished === null) await setTimeout(200, undefined, { signal });
    const last = (await reported()).finished;
    return last !== null && !last.stopped ? handle : null;
  }
  // Checked before the lines are read, as in following.
  return !(await isOver()) || (await reported()).finished !== null ? handle : null;
}

/**
 * For a run that is computed by other means than its folder's job: two must not write there.
 * @throws UserError `busy` unless the job has reported its end, or its processes, or its job of Slurm, are certainly over.
 */
export async function requireNoJob(directory: string): Promise<void> {
  const handle = readHandle(folderOf(directory));
  if (handle === null) return;
  const job = runningJob(directory, handle);
  const { finished, failed } = await endReports(job)();
  if (finished !== null || failed) return;
  requireThisMachine(directory, handle);
  // A cluster that only the folder names is not asked.
  if (handle.kind !== 'ray' && (await job.ended()) !== null) return;
  const place = handle.kind === 'processes' ? 'torchrun' : placeText(handle);
  throw userError(
    'busy',
    `A job of PyTorch is under way in ${directory}.`,
    `Follow it with --resume --on ${place}. ${ifOver(directory)}`,
  );
}

/**
 * The processes of another machine, which shares the folder, cannot be seen here.
 * @throws UserError `busy`
 */
function requireThisMachine(directory: string, handle: JobHandle): void {
  if (handle.kind !== 'processes' || handle.host === undefined || handle.host === hostname()) return;
  // A machine may have another name by now.
  if (handle.processes.some(isCertainlyRunning)) return;
  throw userError(
    'busy',
    `The job in ${directory} was started on ${shown(handle.host)}.`,
    `Follow it from there. ${ifOver(directory)}`,
  );
}

/**
 * Otherwise the end of a job that failed would be awaited for ever.
 * @throws UserError `busy` if Slurm cannot be asked here whether it has the job still.
 */
async function requireSlurm(directory: string): Promise<void> {
  const number = slurmJobNumber(folderOf(directory));
  if (number === null || (await hasSlurmJob(number)) !== null) return;
  throw userError(
    'busy',
    `The job ${number} of Slurm in ${directory} has failed, and Slurm cannot be asked here whether it has ended.`,
    ifOver(directory),
  );
}

const ifOver = (directory: string): string => `If it is certainly over, remove ${folderOf(directory)}.`;

/** How a job has reported its end, as far as it has; every call reads what is new. */
function endReports(
  job: RunningJob,
): () => Promise<{ readonly finished: FinishedEvent | null; readonly failed: boolean }> {
  let [finished, failed]: [FinishedEvent | null, boolean] = [null, false];
  return async () => {
    for (let lines = await job.lines(); lines !== ''; lines = await job.lines())
      for (const line of lines.split('\n')) {
        const event = eventOrNull(line);
        if (event?.type === 'finished') finished = event;
        if (event?.type === 'failed') failed = true;
      }
    return { finished, failed };
  };
}

export function runningJob(directory: string, handle: JobHandle, kill: Kill = killGroup): RunningJob {
  const folder = folderOf(directory);
  const newLines = newLinesOf(path.join(folder, eventsFile));
  const known = { lines: async (): Promise<string> => newLines(), hasState: () => isCheckpoint(directory) };
  switch (handle.kind) {
    case 'ray':
      return {
        ...known,
        ended: once(
          rayMilliseconds,
          patiently(() => rayJobEnd(handle.url, handle.id)),
        ),
      };
    case 'slurm':
      return { ...known, ended: slurmEnd(folder) };
    case 'processes':
      return { ...known, ended: () => processesEnd(folder, handle.processes, kill) };
  }
}

/** A cluster that has answered counts as at work while it is silent for some minutes, as one that restarts is. */
function patiently(ask: RunningJob['ended']): RunningJob['ended'] {
  let heard = -Infinity;
  return async () => {
    try {
      const end = await ask();
      heard = Date.now();
      return end;
    } catch (error) {
      if (error instanceof UserError && error.code === 'network' && Date.now() - heard < rayPatienceMilliseconds)
        return null;
      throw error;
    }
  };
}

/**
 * Before the first report all launchers wait for each other, for minutes. If one has ended by then, such as that of a host which ssh cannot
 * reach, there is no run, and the others are ended.
 */
async function processesEnd(folder: string, processes: readonly ProcessIdentity[], kill: Kill): Promise<string | null> {
  const running = processes.filter(isRunning);
  const hasBegun = existsSync(path.join(folder, eventsFile));
  if (running.length > 0 && (hasBegun || running.length === processes.length)) return null;
  const end = lastWords(path.join(folder, logFile));
  await endProcesses(running, kill);
  return end;
}

/** Stopping a job that is still in the queue does not wait: once it begins, it ends on its own. */
function slurmEnd(folder: string): RunningJob['ended'] {
  const hasJob = once(queueMilliseconds, async () => hasSlurmJob(slurmJobNumber(folder)!));
  return async () => {
    if (slurmJobNumber(folder) !== null)
      return (await hasJob()) !== false ? null : lastWords(path.join(folder, logFile));
    return existsSync(path.join(folder, stopFile))
      ? 'The job was stopped before Slurm began it; scancel takes it out of the queue.'
      : null;
  };
}

/** Sends a signal to a process group, given as a negative number. */
export type Kill = (group: number, signal: NodeJS.Signals) => unknown;

const killGroup: Kill = (group, signal) => process.kill(group, signal);

/** Asks a job to keep its work and end at its next update; before its first checkpoint there is nothing to keep. */
export async function stopJob(
  directory: string,
  handle: JobHandle,
  hasWork: boolean,
  kill: Kill = killGroup,
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

async function start(folder: string, { place, mesh, gpusOfNode }: Ranks, signal: AbortSignal): Promise<JobHandle> {
  switch (place.kind) {
    case 'here':
      throw new Error('a job that is tuned here needs no launcher');
    case 'ray':
      return submit(folder, { kind: 'ray', url: place.url, id: newRayJobId() }, mesh);
    case 'slurm':
      writeFileAtomically(path.join(folder, 'job.sh'), [slurmScript(folder, logFile, mesh, gpusOfNode)]);
      return { kind: 'slurm' };
    case 'torchrun':
      return {
        kind: 'processes',
        processes: await startLaunchers(folder, logFile, place.hosts, mesh, signal),
        host: hostname(),
      };
  }
}

/**
 * Submits a job of Ray whose handle is there before: its answer may be late, or lost, and the job begins all the same. Unless the cluster
 * says that it has no such job, the handle stays.
 */
async function submit(folder: string, handle: RayHandle, mesh: Mesh): Promise<RayHandle> {
  const { url, id } = handle;
  const words = [path.dirname(folder), String(ranksOf(mesh))];
  writeHandle(folder, handle);
  try {
    await submitRayJob(url, id, `${packageName}.on_ray`, words, { env_vars: { PYTHONPATH: folder } });
  } catch (error) {
    const has = await hasRayJob(url, id).catch(() => null);
    if (has === false) removeHandle(folder);
    if (has !== true) throw error;
  }
  return handle;
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
