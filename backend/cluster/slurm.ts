/** Slurm: what its nodes have, the script for `sbatch`, and whether its job is there. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { ranksOf, type Mesh } from '../../protocol/options-place.ts';
import { programPath } from '../devices/programs.ts';
import { packageName } from './job.ts';
import { quoted } from './shell.ts';

const gpusOfNode = 8;
/** There once the job has begun: its number. */
const numberFile = 'slurm.job';

/** GPUs of the node that has most, as `sinfo` tells; null where nobody here can say. */
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

/** One task a node, which starts that node's ranks. */
export function slurmScript(folder: string, log: string, mesh: Mesh, port: number): string {
  const ranks = ranksOf(mesh);
  return `#!/bin/bash
#SBATCH --job-name=early-exit
#SBATCH --output=${path.join(folder, log)}
#SBATCH --ntasks-per-node=1
# Nodes and GPUs: together ${ranks}. Change both numbers for nodes of another size.
#SBATCH --nodes=${Math.max(1, Math.ceil(ranks / gpusOfNode))}
#SBATCH --gpus-per-node=${Math.min(ranks, gpusOfNode)}

echo "$SLURM_JOB_ID" > ${quoted(path.join(folder, numberFile))}
export PYTHONPATH=${quoted(folder)}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun python3 -m ${packageName} ${quoted(path.dirname(folder))} --ranks $((${ranks} / SLURM_NNODES)) --nodes "$SLURM_NNODES" --endpoint "$first:${port}"
`;
}

/** The number of the job that this folder's script began; null until then. */
export function slurmJobNumber(folder: string): string | null {
  const file = path.join(folder, numberFile);
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : null;
}

/** Whether Slurm has the job still. Where nobody here can say, it does. */
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
