/** Slurm: what its nodes have, and the script for `sbatch`. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { ranksOf, type Mesh } from '../../protocol/options-place.ts';
import { programPath } from '../devices/programs.ts';
import { packageName } from './job.ts';
import { quoted } from './shell.ts';

const gpusOfNode = 8;

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

export PYTHONPATH=${quoted(folder)}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun python3 -m ${packageName} ${quoted(path.dirname(folder))} --ranks $((${ranks} / SLURM_NNODES)) --nodes "$SLURM_NNODES" --endpoint "$first:${port}"
`;
}
