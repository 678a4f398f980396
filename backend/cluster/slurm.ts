/** Slurm: what its nodes have, the script for `sbatch`, and whether its job is there. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { userError } from '../../protocol/errors.ts';
import { ranksOf, type Mesh } from '../../protocol/options/place.ts';
import { shown } from '../../protocol/shown.ts';
import { programPath } from '../devices/programs.ts';
import { packageName } from './job.ts';
import { quoted } from '../../protocol/shell-word.ts';
import { quotedPythonPath } from './shell.ts';
import { meetingPorts } from './torchrun.ts';

/** At most. */
const gpusOfNode = 8;
/** There once the job has begun: its number. */
const numberFile = 'slurm.job';

/** GPUs of the node that has most, according to `sinfo`; null if that cannot be found out here. */
export async function countSlurmGpus(signal: AbortSignal): Promise<number | null> {
  const sinfo = programPath('sinfo');
  if (!sinfo) return null;
  try {
    const { stdout } = await promisify(execFile)(sinfo, ['--noheader', '--format=%G'], { signal });
    // Such as gpu:a100:8(S:0-1),shard:4.
    const counts = [...stdout.matchAll(/(?:^|,)gpu(?::[^:,()\s]+)?:(\d+)/gm)].map(([, count]) => Number(count));
    return Math.max(0, ...counts);
  } catch {
    signal.throwIfAborted();
    return null;
  }
}

/**
 * One task per node, which starts that node's ranks. Ranks meet by the job's number, so that ranks of two jobs never connect.
 * @throws UserError `bad-argument` if the folder has a name that no line of Slurm's can contain.
 */
export function slurmScript(folder: string, log: string, mesh: Mesh): string {
  const ranks = ranksOf(mesh);
  const nodes = nodesFor(ranks);
  const { first, count } = meetingPorts;
  return `#!/bin/bash
#SBATCH --job-name=early-exit
#SBATCH --output=${filePattern(path.join(folder, log))}
#SBATCH --ntasks-per-node=1
# A job that has reported its end must not write again; early-exit tune --resume begins another.
#SBATCH --no-requeue
# Nodes and GPUs: together ${ranks}. Change both numbers for nodes of another size.
#SBATCH --nodes=${nodes}
#SBATCH --gpus-per-node=${ranks / nodes}

echo "$SLURM_JOB_ID" > ${quoted(path.join(folder, numberFile))}
export PYTHONPATH=${quotedPythonPath(folder)}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((${first} + SLURM_JOB_ID % ${count}))
srun --kill-on-bad-exit=1 python3 -m ${packageName} ${quoted(path.dirname(folder))} --ranks $((${ranks} / SLURM_NNODES)) --nodes "$SLURM_NNODES" --endpoint "$first:$port" --id "$SLURM_JOB_ID"
`;
}

/** The fewest nodes among which ranks can be shared evenly. */
function nodesFor(ranks: number): number {
  let nodes = Math.ceil(ranks / gpusOfNode);
  while (ranks % nodes !== 0) nodes++;
  return nodes;
}

/**
 * A path as a directive of `sbatch` has it: one word in quotes, in which a backslash takes the next character as it is, and a percent sign
 * begins a replacement unless it is doubled (https://slurm.schedmd.com/sbatch.html, "filename pattern"). A backslash of the path's own would
 * end all replacements, and a directive is one line.
 */
function filePattern(file: string): string {
  if (/[\u0000-\u001f\u007f\\]/.test(file))
    throw userError(
      'bad-argument',
      `${shown(file)} has a control character or a backslash in it, which Slurm cannot read.`,
      'Name another folder (--out).',
    );
  return `"${file.replaceAll('%', '%%').replace(/["#]/g, '\\$&')}"`;
}

/**
 * The number of the job that this folder's script began; null until then.
 * @throws UserError `bad-data` if there is something else.
 */
export function slurmJobNumber(folder: string): string | null {
  const file = path.join(folder, numberFile);
  if (!existsSync(file)) return null;
  const number = readFileSync(file, 'utf8').trim();
  if (/^\d*$/.test(number)) return number || null;
  throw userError(
    'bad-data',
    `${file} holds no number of a job.`,
    'See that none runs there, remove it, and go on with --resume.',
  );
}

/** Whether Slurm has the job still. If that cannot be found out here: yes. */
export async function hasSlurmJob(number: string): Promise<boolean> {
  const squeue = programPath('squeue');
  if (!squeue) return true;
  try {
    const { stdout } = await promisify(execFile)(squeue, ['--noheader', '--format=%A', `--jobs=${number}`]);
    return stdout.trim() !== '';
  } catch (error) {
    // What ended some minutes ago is unknown to it.
    return !/invalid job id/i.test(String(error));
  }
}
