/** Commands for other machines hold in a shell, whatever a folder is called, and add up to the ranks of the mesh. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { followJob } from '../../../backend/cluster/follow.ts';
import { writeHandle, type ProcessesHandle } from '../../../backend/cluster/handle.ts';
import { findJob, runningJob, stopJob } from '../../../backend/cluster/launch.ts';
import { slurmJobNumber, slurmScript } from '../../../backend/cluster/slurm.ts';
import { hostCommands, newMeeting } from '../../../backend/cluster/torchrun.ts';
import { identityOf, isRunning, type ProcessIdentity } from '../../../backend/system/processes.ts';
import type { UserError } from '../../../protocol/errors.ts';
import { finished } from './reports.ts';

const mesh = { pp: 2, dp: 4, tp: 2, shard: false };
const folder = `/runs/it's "$(touch x)".exits/distributed`;

/** A folder with a program of this name. */
function standIn(name: string, script: string): string {
  const bin = fs.mkdtempSync(path.join(os.tmpdir(), 'launch-bin-'));
  fs.writeFileSync(path.join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return bin;
}

describe.skipIf(process.platform === 'win32')('a command', () => {
  it('for a host starts its share of the ranks, and meets the others at the first', () => {
    const meeting = { id: '0123456789abcdef', port: 20_017 };
    const commands = hostCommands(folder, ['a', 'b'], mesh, meeting);
    expect(commands.map(({ host }) => host)).toEqual(['a', 'b']);
    const bin = standIn('python3', `printf '%s\\n' "PYTHONPATH=$PYTHONPATH" python3 "$@"`);
    for (const { command } of commands)
      for (const [before, after] of [
        [{}, ''],
        [{ PYTHONPATH: '/opt/torch' }, ':/opt/torch'],
      ] as const) {
        // As that host's shell runs it.
        const env = { PATH: `${bin}${path.delimiter}${process.env['PATH']}`, ...before };
        const words = execFileSync('sh', ['-c', command], { encoding: 'utf8', env }).trim().split('\n');
        expect(words).toEqual([
          ...[`PYTHONPATH=${folder}${after}`, 'python3', '-m', 'early_exit_distributed'],
          folder.replace('/distributed', ''),
          ...['--ranks=8', '--nodes=2', '--endpoint=a:20017', '--id=0123456789abcdef'],
        ]);
      }
    fs.rmSync(bin, { recursive: true });
  });

  it('meets no other run', () => {
    const meetings = Array.from({ length: 50 }, newMeeting);
    expect(new Set(meetings.map(({ id }) => id)).size).toBe(50);
    expect(new Set(meetings.map(({ port }) => port)).size).toBeGreaterThan(40);
    // Below those that systems give away by themselves.
    expect(meetings.every(({ port }) => port >= 20_000 && port < 32_768)).toBe(true);
  });

  it('for Slurm is a script that bash reads, with the GPUs of the mesh', () => {
    const root = fs.mkdtempSync(path.join(os.tmpdir(), 'launch-'));
    const own = path.join(root, folder);
    fs.mkdirSync(own, { recursive: true });
    const script = slurmScript(own, 'launch.log', mesh, null);
    execFileSync('bash', ['-n'], { input: script });
    expect(script).toContain('#SBATCH --nodes=2\n#SBATCH --gpus-per-node=8\n#SBATCH --cpus-per-task=16\n');
    expect(slurmScript(own, 'launch.log', mesh, 4)).toContain('#SBATCH --nodes=4\n#SBATCH --gpus-per-node=4\n');
    expect(slurmScript(own, 'launch.log', mesh, 0)).not.toContain('#SBATCH --gpus');
    // As many on each node.
    const [nine, twelve] = [9, 12].map((dp) =>
      slurmScript(own, 'launch.log', { pp: 1, dp, tp: 1, shard: false }, null),
    );
    expect(nine).toContain('#SBATCH --nodes=3\n#SBATCH --gpus-per-node=3\n');
    expect(twelve).toContain('#SBATCH --nodes=2\n#SBATCH --gpus-per-node=6\n');
    const ran = execFileSync('bash', {
      input: `scontrol() { echo first; }\nsrun() { printf '%s\\n' "$@"; }\nSLURM_NNODES=2\nSLURM_JOB_ID=17\nSLURM_CPUS_PER_TASK=16\n${script}`,
      encoding: 'utf8',
    });
    expect(ran.trim().split('\n')).toEqual([
      ...['--kill-on-bad-exit=1', '--cpus-per-task=16', 'python3', '-m', 'early_exit_distributed', path.dirname(own)],
      ...['--ranks', '8', '--nodes', '2', '--endpoint', 'first:20017', '--id', '17'],
    ]);
    expect(slurmJobNumber(own)).toBe('17');
    for (const [before, after] of [
      ['unset PYTHONPATH', own],
      ['PYTHONPATH=/opt/torch', `${own}:/opt/torch`],
    ])
      expect(
        execFileSync('bash', {
          input: `scontrol() { :; }\nsrun() { echo "$PYTHONPATH"; }\nSLURM_NNODES=2\nSLURM_JOB_ID=17\n${before}\n${script}`,
          encoding: 'utf8',
        }),
      ).toBe(`${after}\n`);
    fs.rmSync(root, { recursive: true });
  });
});

describe('a script for Slurm', () => {
  const outputOf = (of: string): string =>
    /^#SBATCH --output=(.*)$/m.exec(slurmScript(of, 'launch.log', mesh, null))![1]!;

  it('takes signs of a path for what they are', () => {
    expect(outputOf('/runs/a')).toBe('"/runs/a/launch.log"');
    expect(outputOf('/runs/100% a%j #1 "b"')).toBe('"/runs/100%% a%%j \\#1 \\"b\\"/launch.log"');
  });

  it('is not written where a line of it would end early', () => {
    for (const name of ['a\n#SBATCH --wrap=id', 'a\rb', 'a\0b', 'a\\b'])
      expect(() => slurmScript(`/runs/${name}`, 'launch.log', mesh, null)).toThrow(
        /^\/runs\/a.*has a control character or a backslash in it, which Slurm cannot read\.$/,
      );
  });
});

describe.skipIf(process.platform === 'win32')('a job of Slurm', () => {
  const slurm = { kind: 'slurm' } as const;
  const pathBefore = process.env['PATH'];
  let root: string;
  const pathOf = (name: string): string => path.join(root, 'distributed', name);
  /** A stand-in for `squeue`. */
  const queue = (script: string): void => {
    fs.writeFileSync(path.join(root, 'squeue'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    process.env['PATH'] = `${root}${path.delimiter}${pathBefore}`;
  };
  beforeEach(() => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'slurm-'));
    fs.mkdirSync(pathOf(''));
    fs.writeFileSync(pathOf('running.json'), JSON.stringify(slurm));
  });
  afterEach(() => {
    process.env['PATH'] = pathBefore;
    fs.rmSync(root, { recursive: true, force: true });
  });

  it('that waits in the queue is let go by who stops it, and found no more', async () => {
    const following = followJob(runningJob(root, slurm), AbortSignal.abort(), () => stopJob(root, slurm, true));
    await expect(following.next()).rejects.toThrow(/stopped before Slurm began it; scancel takes it out of the queue/);
    const found = findJob(root, slurm, new AbortController().signal);
    const detail = 'the job that was stopped, once it has ended';
    expect(await found.next()).toEqual({ done: false, value: { type: 'phase', phase: 'load', detail } });
    expect(await found.next()).toEqual({ done: true, value: null });
  });

  it('that has begun runs while it is in the queue, and while that is not known', async () => {
    fs.writeFileSync(pathOf('slurm.job'), '17\n');
    fs.writeFileSync(pathOf('launch.log'), 'slurmstepd: CANCELLED\n');
    const ended = (): Promise<string | null> => runningJob(root, slurm).ended();
    queue('test "$3" = --jobs=17 && echo 17');
    expect(await ended()).toBeNull();
    queue('echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1');
    expect(await ended()).toBeNull();
    const gone = /ended without a word of how \(slurmstepd: CANCELLED\); see .*launch\.log/;
    queue('echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1');
    expect(await ended()).toMatch(gone);
    queue('exit 0');
    expect(await ended()).toMatch(gone);
  });

  it('that failed is not waited for where Slurm cannot be asked whether it has ended', async () => {
    fs.writeFileSync(pathOf('slurm.job'), '17\n');
    fs.writeFileSync(pathOf('events.jsonl'), `${JSON.stringify({ type: 'failed', message: 'No memory.' })}\n`);
    queue('exit 1');
    const found = findJob(root, slurm, new AbortController().signal);
    await expect(found.next()).rejects.toMatchObject({
      code: 'busy',
      message: expect.stringMatching(/^The job 17 of Slurm in .* has failed, and Slurm cannot be asked/) as string,
      wayOut: `If it is certainly over, remove ${path.join(root, 'distributed')}.`,
    });
  });

  it('whose number is none is said in a sentence', async () => {
    fs.writeFileSync(pathOf('slurm.job'), '--help');
    await expect(runningJob(root, slurm).ended()).rejects.toThrow(/slurm\.job holds no number of a job\.$/);
  });

  it('that was asked to stop is waited for until the signal says otherwise', async () => {
    fs.writeFileSync(pathOf('slurm.job'), '17\n');
    fs.writeFileSync(pathOf('stop'), '');
    queue('echo 17');
    const abort = new AbortController();
    const found = findJob(root, slurm, abort.signal);
    await found.next();
    const next = found.next();
    abort.abort();
    await expect(next).rejects.toThrow(/abort/i);
  });
});

it('a job of Ray runs on while its cluster is silent for minutes, once the cluster has answered', async () => {
  let status = 500;
  const server = http.createServer((_, response) => {
    response.writeHead(status).end('{"status": "RUNNING", "message": null}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  vi.useFakeTimers({ toFake: ['Date'] });
  onTestFinished(() => {
    vi.useRealTimers();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const job = runningJob('/runs/none', { kind: 'ray', url, id: 'early-exit-1' });
  const endAfter = (seconds: number): Promise<string | null> => {
    vi.setSystemTime(Date.now() + 1000 * seconds);
    return job.ended();
  };
  await expect(endAfter(0)).rejects.toThrow(/refused: HTTP 500/);
  status = 200;
  expect(await endAfter(2)).toBeNull();
  status = 500;
  expect([await endAfter(2), await endAfter(290)]).toEqual([null, null]);
  await expect(endAfter(10)).rejects.toThrow(/refused: HTTP 500/);
});

describe.skipIf(process.platform === 'win32')('launchers', () => {
  let root: string;
  let children: ChildProcess[];
  beforeEach(() => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'launchers-'));
    fs.mkdirSync(path.join(root, 'distributed'));
    children = [];
  });
  afterEach(() => {
    for (const child of children) child.kill('SIGKILL');
    fs.rmSync(root, { recursive: true, force: true });
  });
  const write = (name: string, text: string): void => fs.writeFileSync(path.join(root, 'distributed', name), text);
  /** A launcher's stand-in, in a group of its own. */
  const started = (script: string): ProcessIdentity => {
    const child = spawn('sh', ['-c', script], { detached: true, stdio: 'ignore' });
    children.push(child);
    return identityOf(child.pid!);
  };
  /** Two launchers, the second of which ends at once. */
  async function twoLaunchers(): Promise<ProcessesHandle> {
    const processes = [started('exec sleep 60'), started('exec sleep 0.1')];
    await new Promise((resolve) => children[1]!.on('close', resolve));
    write('launch.log', 'waiting\nssh: connect to host b port 22: No route to host\n');
    return { kind: 'processes', processes };
  }
  const findIn = async (handle: ProcessesHandle): Promise<unknown> => {
    writeHandle(path.join(root, 'distributed'), handle);
    const found = findJob(root, { kind: 'torchrun', hosts: [] }, new AbortController().signal);
    for (;;) {
      const { done, value } = await found.next();
      if (done) return value;
    }
  };

  it('of which one ends before the first report are ended together, with its reason', async () => {
    const handle = await twoLaunchers();
    expect(await runningJob(root, handle).ended()).toMatch(
      /^The ranks ended without a word of how \(ssh: connect to host b port 22: No route to host\); see .*launch\.log\.$/,
    );
    expect(isRunning(handle.processes[0]!)).toBe(false);
  }, 10_000);

  it('of which one ends later are still a job', async () => {
    const handle = await twoLaunchers();
    write('events.jsonl', '');
    expect(await runningJob(root, handle).ended()).toBeNull();
    expect(isRunning(handle.processes[0]!)).toBe(true);
  });

  it('that were asked to stop and came to the end by themselves are followed to it, others are not', async () => {
    const handle = { kind: 'processes', processes: [] } as const;
    write('stop', '');
    write('events.jsonl', `${finished(false)}\n`);
    expect(await findIn(handle)).toEqual(handle);
    write('events.jsonl', `${finished(true)}\n`);
    expect(await findIn(handle)).toBeNull();
  });

  it('that end without a word are started again, or gone on with if there is a state', async () => {
    const follow = (): Promise<unknown> =>
      followJob(runningJob(root, { kind: 'processes', processes: [] }), new AbortController().signal, async () => {})
        .next()
        .catch((reason: unknown) => (reason as UserError).wayOut);
    expect(await follow()).toBe('Start it again.');
    fs.writeFileSync(path.join(root, 'exits.json'), '{}');
    expect(await follow()).toBe('Go on from its last state with --resume.');
  });
});
