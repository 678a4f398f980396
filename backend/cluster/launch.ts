/**
 * Starting ranks, and finding them again: torchrun's own launcher on this machine or on hosts, a job of Ray, a script for Slurm. What is
 * needed to find a job again lies in its folder, so that whoever started it may go. Knows nothing of what the ranks compute.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { userError } from '../../protocol/errors.ts';
import type { PhaseEvent } from '../../protocol/events.ts';
import { ranksOf, type Mesh, type Place } from '../../protocol/options-place.ts';
import { jobFolder } from '../checkpoint/checkpoint.ts';
import { programPath } from '../devices/programs.ts';
import { processIsAlive, writeFileAtomically } from '../formats/files.ts';
import type { ZipEntry } from '../formats/zip.ts';
import { newLinesOf, once, readEvent, type RankEvent, type RunningJob } from './follow.ts';
import { packageName } from './job.ts';
import { findPython } from './python.ts';
import { quoted } from './shell.ts';
import { hasSlurmJob, slurmJobNumber, slurmScript } from './slurm.ts';
import { forgetRayJob, rayJob, startRayJob, type RayHandle } from './ray-job.ts';
import { stopRayJob } from './ray.ts';

/** How a job is found again. */
export type JobHandle =
  { readonly kind: 'processes'; readonly pids: readonly number[] } | RayHandle | { readonly kind: 'slurm' };

const handleFile = 'running.json';
const eventsFile = 'events.jsonl';
const logFile = 'launch.log';
/** There once the job is asked to stop; see job.py. */
const stopFile = 'stop';
const port = 29_400;
/** How long a job is waited for that was asked to stop before it has anything to keep. */
const graceMilliseconds = 5_000;
/** Slurm's queue is asked at most so often: all of a cluster ask it. */
const queueMilliseconds = 10_000;

const folderOf = (directory: string): string => path.join(path.resolve(directory), jobFolder);

/** Where ranks are started, how they divide the work, and which files go with the job where they do not see its folder. */
export interface Ranks {
  readonly place: Place;
  readonly mesh: Mesh;
  readonly files: readonly ZipEntry[] | null;
}

/**
 * Starts the job that `writeJob` wrote.
 * @throws UserError where what starts it is missing, or refuses.
 */
export async function startJob(directory: string, ranks: Ranks, signal: AbortSignal): Promise<JobHandle> {
  const folder = folderOf(directory);
  const handle = await start(folder, ranks, signal);
  writeFileAtomically(path.join(folder, handleFile), [`${JSON.stringify(handle)}\n`]);
  return handle;
}

/**
 * The job of a folder that runs, or that reached its end while nobody followed; null where there is none to follow. One that was asked to
 * stop is waited for: it is nobody's any more.
 * @throws the signal's reason where it was aborted meanwhile.
 */
export async function* findJob(directory: string, signal: AbortSignal): AsyncGenerator<PhaseEvent, JobHandle | null> {
  const folder = folderOf(directory);
  let handle: JobHandle;
  try {
    handle = JSON.parse(readFileSync(path.join(folder, handleFile), 'utf8')) as JobHandle;
  } catch {
    return null;
  }
  const job = runningJob(directory, handle);
  const isOver = async (): Promise<boolean> => (await job.ended()) !== null;
  const reported = new Set<RankEvent['type'] | undefined>();
  const reports = async (type: RankEvent['type']): Promise<boolean> => {
    for (const line of (await job.lines()).split('\n')) reported.add(readEvent(line)?.type);
    return reported.has(type);
  };
  const takeBack = async (): Promise<null> => {
    await job.bringBack();
    await forgetJob(directory, handle);
    return null;
  };
  try {
    if (existsSync(path.join(folder, stopFile)) || (await reports('failed'))) {
      yield { type: 'phase', phase: 'load', detail: 'the job that was stopped, once it has ended' };
      while (!(await isOver()) && !(await reports('finished'))) await setTimeout(200, undefined, { signal });
      return await takeBack();
    }
    // Asked before the lines are read, as in following.
    if (!(await isOver()) || (await reports('finished'))) return handle;
    return await takeBack();
  } finally {
    job.close();
  }
}

export function runningJob(directory: string, handle: JobHandle): RunningJob {
  const folder = folderOf(directory);
  const newLines = newLinesOf(path.join(folder, eventsFile));
  const lines = async (): Promise<string> => newLines();
  switch (handle.kind) {
    case 'ray':
      return rayJob(directory, handle, lines);
    case 'slurm':
      return { ...here, lines, ended: slurmEnd(folder) };
    case 'processes':
      return {
        ...here,
        lines,
        ended: async () => (handle.pids.some(processIsAlive) ? null : lastWords(path.join(folder, logFile))),
      };
  }
}

/** Whoever stops a job that waits in the queue waits for nobody: once it begins it ends by itself. */
function slurmEnd(folder: string): RunningJob['ended'] {
  const hasJob = once(queueMilliseconds, async () => hasSlurmJob(slurmJobNumber(folder)!));
  return async () => {
    if (slurmJobNumber(folder) !== null) return (await hasJob()) ? null : lastWords(path.join(folder, logFile));
    return existsSync(path.join(folder, stopFile))
      ? 'The job was stopped before Slurm began it; scancel takes it out of the queue.'
      : null;
  };
}

/** Of a job that writes into the run's folder itself. */
const here = { bringBack: async (): Promise<boolean> => true, close: (): void => {} };

/** Asks a job to end at its next update with its work kept; before its first checkpoint there is nothing to keep. */
export async function stopJob(directory: string, handle: JobHandle, hasWork: boolean): Promise<void> {
  writeFileSync(path.join(folderOf(directory), stopFile), '');
  // Ranks elsewhere do not see that file: Ray's own signal tells them.
  if (handle.kind === 'ray' && (handle.carried !== null || !hasWork)) return stopRayJob(handle.url, handle.id);
  if (hasWork) return;
  if (handle.kind !== 'processes') return;
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    for (const pid of handle.pids) if (processIsAlive(pid)) process.kill(-pid, signal);
    const until = Date.now() + graceMilliseconds;
    while (Date.now() < until && handle.pids.some(processIsAlive)) await setTimeout(50);
  }
}

/** After a run's end: what it left where it ran goes. */
export async function forgetJob(directory: string, handle: JobHandle): Promise<void> {
  if (handle.kind === 'ray') await forgetRayJob(handle, path.join(folderOf(directory), packageName));
}

async function start(folder: string, { place, mesh, files }: Ranks, signal: AbortSignal): Promise<JobHandle> {
  switch (place.kind) {
    case 'here':
      throw new Error('a job that is tuned here needs no launcher');
    case 'ray':
      return startRayJob(place.url, folder, ranksOf(mesh), files, signal);
    case 'slurm':
      writeFileAtomically(path.join(folder, 'job.sh'), [slurmScript(folder, logFile, mesh, port)]);
      return { kind: 'slurm' };
    case 'torchrun': {
      if (place.hosts.length === 0) {
        const python = await findPython(signal);
        return {
          kind: 'processes',
          pids: [startHere(folder, [python, ...launcherWords(folder, ranksOf(mesh), 1, null)])],
        };
      }
      const ssh = programPath('ssh');
      if (!ssh)
        throw userError('not-found', 'There is no ssh on this machine.', 'Install it, or use torchrun without hosts.');
      return {
        kind: 'processes',
        pids: hostCommands(folder, place.hosts, mesh).map(({ host, command }) =>
          startHere(folder, [ssh, '-o', 'BatchMode=yes', host, command]),
        ),
      };
    }
  }
}

/** What is run on each host; all see the run's folder under the same path. */
export function hostCommands(
  folder: string,
  hosts: readonly string[],
  mesh: Mesh,
): readonly { readonly host: string; readonly command: string }[] {
  const ranks = ranksOf(mesh);
  if (ranks % hosts.length !== 0)
    throw userError(
      'bad-argument',
      `${ranks} ranks cannot be shared evenly among ${hosts.length} hosts.`,
      'Choose another --mesh.',
    );
  const words = launcherWords(folder, ranks / hosts.length, hosts.length, `${hosts[0]!}:${port}`);
  const command = ['env', `PYTHONPATH=${quoted(folder)}`, 'python3', ...words.map(quoted)].join(' ');
  return hosts.map((host) => ({ host, command }));
}

const launcherWords = (folder: string, ranks: number, nodes: number, endpoint: string | null): string[] => [
  '-m',
  packageName,
  path.dirname(folder),
  `--ranks=${ranks}`,
  ...(endpoint === null ? [] : [`--nodes=${nodes}`, `--endpoint=${endpoint}`]),
];

/** A process that outlives this one, so that a run can be found again; its output goes to the job's log. */
function startHere(folder: string, [program, ...words]: readonly string[]): number {
  const log = openSync(path.join(folder, logFile), 'a');
  try {
    const child = spawn(program!, words, {
      cwd: folder,
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...process.env, PYTHONPATH: folder, PYTHONUNBUFFERED: '1' },
    });
    if (child.pid === undefined) throw userError('not-found', `${program} cannot be started.`);
    // It may end at once; who follows it reads why in its log.
    child.on('error', () => {});
    child.unref();
    return child.pid;
  } finally {
    closeSync(log);
  }
}

function lastWords(file: string): string {
  const line = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').at(-1)!.trim() : '';
  return `The ranks ended without a word of how${line ? ` (${line.slice(0, 200)})` : ''}; see ${file}.`;
}
