/**
 * Starting ranks, and finding them again: torchrun's own launcher on this machine or on hosts, a job of Ray, a script for Slurm. What is
 * needed to find a job again lies in its folder, so that whoever started it may go. Knows nothing of what the ranks compute.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { userError } from '../../protocol/errors.ts';
import { ranksOf, type Mesh, type Place } from '../../protocol/options-place.ts';
import { jobFolder } from '../checkpoint/checkpoint.ts';
import { programPath } from '../devices/programs.ts';
import { processIsAlive, writeFileAtomically } from '../formats/files.ts';
import { readEvent, textOf, type RankEvent, type RunningJob } from './follow.ts';
import { packageName } from './job.ts';
import { findPython } from './python.ts';
import { rayJobEnd, stopRayJob, submitRayJob } from './ray.ts';

/** How a job is found again. */
export type JobHandle =
  | { readonly kind: 'processes'; readonly pids: readonly number[] }
  | { readonly kind: 'ray'; readonly url: string; readonly id: string }
  | { readonly kind: 'slurm' };

const handleFile = 'running.json';
const eventsFile = 'events.jsonl';
const logFile = 'launch.log';
/** There once the job is asked to stop; see job.py. */
const stopFile = 'stop';
const port = 29_400;
/** How long a job is waited for that was asked to stop before it has anything to keep. */
const graceMilliseconds = 5_000;

const folderOf = (directory: string): string => path.join(path.resolve(directory), jobFolder);

/**
 * Starts the job that `writeJob` wrote.
 * @throws UserError where what starts it is missing, or refuses.
 */
export async function startJob(directory: string, place: Place, mesh: Mesh, signal: AbortSignal): Promise<JobHandle> {
  const handle = await start(directory, place, mesh, signal);
  writeFileAtomically(path.join(folderOf(directory), handleFile), [`${JSON.stringify(handle)}\n`]);
  return handle;
}

/**
 * The job of a folder that runs, or that reached its end while nobody followed; null where there is none to follow. One that was asked to
 * stop is waited for: it is nobody's any more.
 */
export async function findJob(directory: string): Promise<JobHandle | null> {
  const folder = folderOf(directory);
  let handle: JobHandle;
  try {
    handle = JSON.parse(readFileSync(path.join(folder, handleFile), 'utf8')) as JobHandle;
  } catch {
    return null;
  }
  const job = runningJob(directory, handle);
  const isOver = async (): Promise<boolean> => (await job.ended()) !== null;
  if (existsSync(path.join(folder, stopFile)) || reports(await job.lines(), 'failed')) {
    while (!(await isOver()) && !reports(await job.lines(), 'finished')) await setTimeout(200);
    return null;
  }
  return reports(await job.lines(), 'finished') || !(await isOver()) ? handle : null;
}

const reports = (lines: string, type: RankEvent['type']): boolean =>
  lines.split('\n').some((line) => readEvent(line)?.type === type);

export function runningJob(directory: string, handle: JobHandle): RunningJob {
  const folder = folderOf(directory);
  const lines = async (): Promise<string> => textOf(path.join(folder, eventsFile));
  switch (handle.kind) {
    case 'ray':
      return { lines, ended: () => rayJobEnd(handle.url, handle.id) };
    case 'slurm':
      // Its queue knows when it begins; until then nothing is reported.
      return { lines, ended: async () => null };
    case 'processes':
      return {
        lines,
        ended: async () => (handle.pids.some(processIsAlive) ? null : lastWords(path.join(folder, logFile))),
      };
  }
}

/** Asks a job to end at its next update with its work kept; before its first checkpoint there is nothing to keep. */
export async function stopJob(directory: string, handle: JobHandle, hasWork: boolean): Promise<void> {
  writeFileSync(path.join(folderOf(directory), stopFile), '');
  if (hasWork) return;
  if (handle.kind === 'ray') return stopRayJob(handle.url, handle.id);
  if (handle.kind !== 'processes') return;
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    for (const pid of handle.pids) if (processIsAlive(pid)) process.kill(-pid, signal);
    const until = Date.now() + graceMilliseconds;
    while (Date.now() < until && handle.pids.some(processIsAlive)) await setTimeout(50);
  }
}

async function start(directory: string, place: Place, mesh: Mesh, signal: AbortSignal): Promise<JobHandle> {
  const folder = folderOf(directory);
  switch (place.kind) {
    case 'here':
      throw new Error('a job that is tuned here needs no launcher');
    case 'ray':
      return { kind: 'ray', url: place.url, id: await submitRayJob(place.url, folder, ranksOf(mesh)) };
    case 'slurm':
      writeFileAtomically(path.join(folder, 'job.sh'), [slurmScript(folder, mesh)]);
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

/** One task a node, which starts that node's ranks. */
export function slurmScript(folder: string, mesh: Mesh): string {
  const ranks = ranksOf(mesh);
  return `#!/bin/bash
#SBATCH --job-name=early-exit
#SBATCH --output=${path.join(folder, logFile)}
#SBATCH --ntasks-per-node=1
# Nodes and GPUs: together ${ranks}. Change both numbers for nodes of another size.
#SBATCH --nodes=${Math.max(1, Math.ceil(ranks / 8))}
#SBATCH --gpus-per-node=${Math.min(ranks, 8)}

export PYTHONPATH=${quoted(folder)}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun python3 -m ${packageName} ${quoted(path.dirname(folder))} --ranks $((${ranks} / SLURM_NNODES)) --nodes "$SLURM_NNODES" --endpoint "$first:${port}"
`;
}

/** As a shell reads it: one word, whatever is in it. */
const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

function lastWords(file: string): string {
  const line = textOf(file).trim().split('\n').at(-1)?.trim() ?? '';
  return `The ranks ended without a word of how${line ? ` (${line.slice(0, 200)})` : ''}; see ${file}.`;
}
