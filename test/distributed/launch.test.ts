/** Jobs as people start them: torchrun here and over ssh, ranks that are killed, runs that are stopped, taken up on another mesh, and found again. */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TuneEvent } from '../../protocol/events.ts';
import { parseOptions } from '../../protocol/options.ts';
import { tuneElsewhere } from '../../backend/recipes/tune-elsewhere.ts';
import { isWhole, metricsOf, pythonWithTorch, tinyModel, tuned, worstDifference } from './ranks.ts';

const python = pythonWithTorch();
const steps = 40;

describe.skipIf(python === null || !isWhole)('a job of PyTorch', () => {
  let root: string;
  let options: Record<string, unknown>;
  const out = (name: string): string => path.join(root, `${name}.exits`);
  beforeAll(async () => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'launch-'));
    process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
    process.env['EARLY_EXIT_PYTHON'] = python!;
    process.env['OMP_NUM_THREADS'] = '1';
    options = {
      model: tinyModel(root, 'llama-untied'),
      data: ['protocol/shapes.ts', 'protocol/spans.ts', 'protocol/jobs.ts'],
      exits: '1:lens,2:mlp,3:norm',
      shortlist: 60,
      initialise: 'copy',
      sequenceLength: 48,
      heldOutFraction: 0.2,
      evaluationTokens: 192,
      steps,
      evaluateEvery: 20,
      batchSize: 2,
      backbonePrecision: 'exact',
      device: 'cpu',
      exitDevice: 'cpu',
    };
    await tuned({ ...options, out: out('here') });
  }, 300_000);
  afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

  /** Follows until so many steps are done, then does something once. */
  async function follow(
    given: Record<string, unknown>,
    step: number,
    act: () => void,
    signal?: AbortSignal,
  ): Promise<TuneEvent[]> {
    const events: TuneEvent[] = [];
    let acted = false;
    for await (const event of tuneElsewhere(parseOptions('tune', given), signal ?? new AbortController().signal)) {
      events.push(event);
      if (event.type === 'step' && event.step >= step && !acted) {
        acted = true;
        act();
      }
    }
    return events;
  }

  const sameAsHere = (name: string): void => {
    const [here, there] = [metricsOf(out('here')), metricsOf(out(name))];
    expect(there.map(({ type, step }) => [type, step])).toEqual(here.map(({ type, step }) => [type, step]));
    for (const [i, line] of here.entries()) {
      if (line.type !== 'step') continue;
      const of = ({ losses, loss }: Readonly<Record<string, unknown>>): unknown => ({ losses, loss });
      expect(worstDifference(of(line), of(there[i]!)).difference).toBeLessThan(1e-3);
    }
  };

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
    const fit = { data: ['protocol/*.ts', 'backend/**/*.ts'], initialise: 'fit', fitTokens: 1_000_000 };
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

  it('is found again by whoever comes later', async () => {
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
      `#!/bin/sh\necho "$3" >> '${called}'\nPATH='${path.dirname(python!)}':"$PATH"\nexec sh -c "$4"\n`,
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

  it('is submitted to Ray, followed, stopped, and gone on with', async () => {
    const bin = path.dirname(python!);
    const cluster = await startRay(bin, path.join(root, 'ray'));
    try {
      const given = { ...options, out: out('ray'), on: `ray:${cluster.url}`, mesh: 'dp=2' };
      const controller = new AbortController();
      const events = await follow(given, 3, () => controller.abort(), controller.signal);
      expect(events.at(-1)).toMatchObject({ type: 'tuned', stopped: true });
      const after = await tuned({ out: out('ray'), resume: true, on: `ray:${cluster.url}`, mesh: 'pp=2' });
      expect(after.at(-1)).toMatchObject({ type: 'tuned', step: steps, stopped: false });
      sameAsHere('ray');
    } finally {
      await cluster.stop();
    }
  }, 600_000);
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

/** A cluster of one node, which the test owns: `--block` ends all that it started once it is told to. */
async function startRay(bin: string, folder: string): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const port = 8_299;
  const words = [
    ...['start', '--head', '--block', '--port=6399', '--num-cpus=2', `--temp-dir=${folder}`],
    ...['--include-dashboard=true', '--dashboard-host=127.0.0.1', `--dashboard-port=${port}`],
    '--object-store-memory=100000000',
  ];
  const environment = { ...process.env, RAY_USAGE_STATS_ENABLED: '0', PATH: `${bin}:${process.env['PATH']}` };
  const head = spawn(path.join(bin, 'ray'), words, { env: environment, stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => void head.on('close', () => resolve()));
  const stop = async (): Promise<void> => {
    head.kill('SIGTERM');
    await ended;
  };
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries++) {
    const answers = await fetch(`${url}/api/version`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (answers) return { url, stop };
    if (tries > 600) {
      await stop();
      throw new Error('the dashboard of Ray does not answer');
    }
    await setTimeout(200);
  }
}
