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

/** Of a node, if that is not known. */
const usualGpus = 8;
/** Of a rank: its own thread, and what reads text and answers the others. */
const coresOfRank = 2;
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
 * One task per node, which starts that node's ranks. Ranks meet by the job's number, so that ranks of two jobs never connect. `gpus`: those
 * of a node; 0 if there are none, null if that is not known.
 * @throws UserError `bad-argument` if the folder has a name that no line of Slurm's can contain.
 */
export function slurmScript(folder: string, log: string, mesh: Mesh, gpus: number | null): string {
  const ranks = ranksOf(mesh);
  const nodes = nodesFor(ranks, gpus || usualGpus);
  const { first, count } = meetingPorts;
  return `#!/bin/bash
#SBATCH --job-name=early-exit
#SBATCH --output=${filePattern(path.join(folder, log))}
#SBATCH --ntasks-per-node=1
# A job that has reported its end must not write again; early-exit tune --resume begins another.
#SBATCH --no-requeue
${placeLines(ranks, nodes, gpus)}

echo "$SLURM_JOB_ID" > ${quoted(path.join(folder, numberFile))}
export PYTHONPATH=${quotedPythonPath(folder)}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((${first} + SLURM_JOB_ID % ${count}))
srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" python3 -m ${packageName} ${quoted(path.dirname(folder))} --ranks $((${ranks} / SLURM_NNODES)) --nodes "$SLURM_NNODES" --endpoint "$first:$port" --id "$SLURM_JOB_ID"
`;
}

function placeLines(ranks: number, nodes: number, gpus: number | null): string {
  const cores = `#SBATCH --cpus-per-task=${coresOfRank * (ranks / nodes)}`;
  return gpus === 0
    ? `# Nodes without GPUs. More cores make the ranks faster.
#SBATCH --nodes=${nodes}
${cores}`
    : `# Nodes and GPUs: together ${ranks}. Change both numbers for nodes of another size; cores are two for each rank.
#SBATCH --nodes=${nodes}
#SBATCH --gpus-per-node=${ranks / nodes}
${cores}`;
}

/** The fewest nodes among which ranks can be shared evenly. */
function nodesFor(ranks: number, ofNode: number): number {
  let nodes = Math.ceil(ranks / ofNode);
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

/** Whether Slurm has the job still; null if that cannot be found out here. */
export async function hasSlurmJob(number: string): Promise<boolean | null> {
  const squeue = programPath('squeue');
  if (!squeue) return null;
  try {
    const { stdout } = await promisify(execFile)(squeue, ['--noheader', '--format=%A', `--jobs=${number}`]);
    return stdout.trim() !== '';
  } catch (error) {
    // What ended some minutes ago is unknown to it.
    return /invalid job id/i.test(String(error)) ? false : null;
  }
}
