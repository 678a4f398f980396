/** Jobs as people start them, by torchrun here and over ssh: ranks that are killed, runs that are stopped, taken up on another mesh, and found again. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseOptions } from '../../protocol/options/options.ts';
import { tuneElsewhere } from '../../backend/recipes/training/elsewhere.ts';
import { follow, isWhole, pythonWithTorch, sameMetrics, shortRun, tinyModel, tuned } from './ranks.ts';

const python = pythonWithTorch();
const { steps } = shortRun;

describe.skipIf(python === null || !isWhole)('a job of PyTorch', () => {
  let root: string;
  let options: Record<string, unknown>;
  const out = (name: string): string => path.join(root, `${name}.exits`);
  beforeAll(async () => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'launch-'));
    process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
    process.env['EARLY_EXIT_PYTHON'] = python!;
    process.env['OMP_NUM_THREADS'] = '1';
    options = { ...shortRun, model: tinyModel(root, 'llama-untied') };
    await tuned({ ...options, out: out('here') });
  }, 300_000);
  afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

  const sameAsHere = (name: string): void => sameMetrics(out('here'), out(name));

  it('ends with one sentence that names the rank that was killed, and goes on elsewhere to the same metrics', async () => {
    const slow = { ...options, out: out('killed'), on: 'torchrun', mesh: 'pp=2' };
    await expect(follow(slow, 3, () => process.kill(rankProcess(out('killed'), 1), 'SIGKILL'))).rejects.toThrow(
      /^Rank 1 of 2 \(process \d+ on .*\) was ended by SIGKILL\. Go on from its last state with --resume; its output is in .*launch\.log\.$/,
    );
    const events = await tuned({ out: out('killed'), resume: true, on: 'torchrun', mesh: 'dp=2' });
    expect(events.at(-1)).toMatchObject({ type: 'tuned', step: steps, stopped: false });
    sameAsHere('killed');
  }, 300_000);

  it('stops at an update with its work kept, and goes on in the engine here', async () => {
    const controller = new AbortController();
    const given = { ...options, out: out('stopped'), on: 'torchrun', mesh: 'dp=2' };
    const events = await follow(given, 3, () => controller.abort(), controller.signal);
    const last = events.at(-1);
    expect(last).toMatchObject({ type: 'tuned', stopped: true });
    expect(last?.type === 'tuned' && last.step).toBeLessThan(steps);
    const after = await tuned({ out: out('stopped'), resume: true, device: 'cpu', exitDevice: 'cpu' });
    expect(after.at(-1)).toMatchObject({ type: 'tuned', step: steps, stopped: false });
    sameAsHere('stopped');
  }, 300_000);

  it('ends at once, with no process left, before there is anything to keep', async () => {
    const controller = new AbortController();
    // Its fit takes long enough to be met.
    const fit = { data: ['protocol/**/*.ts', 'backend/**/*.ts'], initialise: 'fit', fitTokens: 1_000_000 };
    const given = { ...options, ...fit, out: out('early'), on: 'torchrun', mesh: 'dp=2' };
    const running = (async (): Promise<void> => {
      for await (const event of tuneElsewhere(parseOptions('tune', given), controller.signal))
        if (event.type === 'phase' && event.phase === 'fit') controller.abort();
    })();
    await expect(running).rejects.toThrow(/abort/i);
    expect(fs.existsSync(path.join(out('early'), 'exits.json'))).toBe(false);
    // Ranks look once a second whether their launcher is there.
    for (let tries = 0; tries < 50 && ranksOf(out('early')).length > 0; tries++) await setTimeout(200);
    expect(ranksOf(out('early'))).toEqual([]);
  }, 120_000);

  it('is found again by a later command', async () => {
    const given = parseOptions('tune', { ...options, out: out('left'), on: 'torchrun' });
    for await (const event of tuneElsewhere(given, new AbortController().signal)) if (event.type === 'step') break;
    await expect(tuned({ ...options, out: out('left'), on: 'torchrun' })).rejects.toThrow(/already holds|under way/);
    const events = await tuned({ out: out('left'), resume: true, on: 'torchrun' });
    expect(events.find(({ type }) => type === 'step')).toMatchObject({ step: 1 });
    expect(events.at(-1)).toMatchObject({ type: 'tuned', step: steps, stopped: false });
    sameAsHere('left');
  }, 300_000);

  it('runs on hosts that ssh reaches', async () => {
    const bin = path.join(root, 'bin');
    fs.mkdirSync(bin);
    // What a host does with the command: its shell runs it. Every host is this machine, under another of its names.
    const called = path.join(root, 'ssh-calls');
    fs.writeFileSync(
      path.join(bin, 'ssh'),
      `#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\necho "$1" >> '${called}'\nPATH='${path.dirname(python!)}':"$PATH"\nexec sh -c "$2"\n`,
      { mode: 0o755 },
    );
    const before = process.env['PATH'];
    process.env['PATH'] = `${bin}${path.delimiter}${before}`;
    try {
      const events = await tuned({ ...options, out: out('hosts'), on: 'torchrun:localhost,127.0.0.1', mesh: 'dp=2' });
      expect(events.at(-1)).toMatchObject({ type: 'tuned', step: steps });
    } finally {
      process.env['PATH'] = before;
    }
    expect(fs.readFileSync(called, 'utf8').trim().split('\n').sort()).toEqual(['127.0.0.1', 'localhost']);
    sameAsHere('hosts');
  }, 300_000);
});

interface RankProcess {
  readonly pid: number;
  readonly environment: readonly string[];
}

/** The processes of a run's ranks. */
function ranksOf(directory: string): RankProcess[] {
  return fs.readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const [words, environment] = ['cmdline', 'environ'].map((file) =>
        fs.readFileSync(`/proc/${pid}/${file}`, 'latin1').split('\0'),
      );
      const isRank = words!.includes('early_exit_distributed.rank') && words!.includes(directory);
      return isRank ? [{ pid: Number(pid), environment: environment! }] : [];
    } catch {
      // It has ended meanwhile.
      return [];
    }
  });
}

/** The process of a rank, by what its launcher gave it. */
const rankProcess = (directory: string, rank: number): number =>
  ranksOf(directory).find(({ environment }) => environment.includes(`RANK=${rank}`))!.pid;
