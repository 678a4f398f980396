/** Commands for other machines hold in a shell, whatever a folder is called, and add up to the ranks of the mesh. */
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { hostCommands } from '../../../backend/cluster/launch.ts';
import { slurmScript } from '../../../backend/cluster/slurm.ts';

const mesh = { pp: 2, dp: 4, tp: 2, shard: false };
const folder = `/runs/it's "$(touch x)".exits/distributed`;

describe.skipIf(process.platform === 'win32')('a command', () => {
  it('for a host starts its share of the ranks, and meets the others at the first', () => {
    const commands = hostCommands(folder, ['a', 'b'], mesh);
    expect(commands.map(({ host }) => host)).toEqual(['a', 'b']);
    for (const { command } of commands) {
      // The words as that host's shell reads them.
      const words = execFileSync('sh', ['-c', `printf '%s\\n' ${command}`], { encoding: 'utf8' })
        .trim()
        .split('\n');
      expect(words).toEqual([
        ...[
          'env',
          `PYTHONPATH=${folder}`,
          'python3',
          '-m',
          'early_exit_distributed',
          folder.replace('/distributed', ''),
        ],
        ...['--ranks=8', '--nodes=2', '--endpoint=a:29400'],
      ]);
    }
    expect(() => hostCommands(folder, ['a', 'b', 'c'], mesh)).toThrow(
      '16 ranks cannot be shared evenly among 3 hosts.',
    );
  });

  it('for Slurm is a script that bash reads, with the GPUs of the mesh', () => {
    const script = slurmScript(folder, 'launch.log', mesh, 29_400);
    execFileSync('bash', ['-n'], { input: script });
    expect(script).toContain('#SBATCH --nodes=2\n#SBATCH --gpus-per-node=8\n');
    const ran = execFileSync('bash', {
      input: `scontrol() { echo first; }\nsrun() { printf '%s\\n' "$@"; }\nSLURM_NNODES=2\n${script}`,
      encoding: 'utf8',
    });
    expect(ran.trim().split('\n')).toEqual([
      ...['python3', '-m', 'early_exit_distributed', folder.replace('/distributed', '')],
      ...['--ranks', '8', '--nodes', '2', '--endpoint', 'first:29400'],
    ]);
  });
});
