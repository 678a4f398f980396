/** Jobs of a Ray cluster that the test starts, whose processes share one folder of runs and cannot open anything in another. */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as net from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseOptions } from '../../protocol/options/options.ts';
import { newRayJobId, submitRayJob } from '../../backend/cluster/ray.ts';
import { tuneElsewhere } from '../../backend/recipes/training/elsewhere.ts';
import { follow, isWhole, pythonWithTorch, sameMetrics, shortRun, tinyModel, tuned } from './ranks.ts';

const python = pythonWithTorch();
const { steps } = shortRun;

describe.skipIf(python === null || !isWhole)('a Ray cluster', () => {
  let root: string;
  /** Below it no process of the cluster may open anything. */
  let hidden: string;
  let cluster: Cluster;
  let options: Record<string, unknown>;
  const out = (name: string): string => path.join(root, `${name}.exits`);
  const on = (): string => `ray:${cluster.url}`;
  beforeAll(async () => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'ray-'));
    hidden = path.join(root, 'hidden');
    fs.mkdirSync(hidden);
    process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
    options = { ...shortRun, model: tinyModel(root, 'llama-untied') };
    await tuned({ ...options, out: out('here') });
    cluster = await startRay(python!, { PYTHONPATH: keptOut(root, hidden) });
  }, 600_000);
  afterAll(async () => {
    await cluster?.stop();
    fs.rmSync(root, { recursive: true, force: true });
  }, 120_000);

  it('that shares the run’s folder takes a job, which is followed, stopped, and gone on with', async () => {
    const controller = new AbortController();
    const given = { ...options, out: out('shared'), on: on(), mesh: 'dp=2' };
    const events = await follow(given, 3, () => controller.abort(), controller.signal);
    expect(events.at(-1)).toMatchObject({ type: 'tuned', stopped: true });
    const after = await tuned({ out: out('shared'), resume: true, on: on(), mesh: 'pp=2' });
    expect(after.at(-1)).toMatchObject({ type: 'tuned', step: steps, stopped: false });
    sameMetrics(out('here'), out('shared'));
  }, 600_000);

  /** Long enough that a word to it arrives while it runs. */
  const long = { steps: 100_000, evaluateEvery: 500 };

  it('has its job left and found again, stopped, and gone on with on another mesh and here', async () => {
    const given = { ...options, ...long, out: out('left'), on: on(), mesh: 'dp=2' };
    for await (const event of tuneElsewhere(parseOptions('tune', given), new AbortController().signal))
      if (event.type === 'step') break;
    const controller = new AbortController();
    const again = { out: out('left'), resume: true, on: on() };
    const events = await follow(again, 5, () => controller.abort(), controller.signal);
    expect(events.find(({ type }) => type === 'step')).toMatchObject({ step: 1 });
    const last = events.at(-1);
    if (last?.type !== 'tuned') throw new Error('it did not end as a run does');
    expect(last.stopped).toBe(true);
    const after = await tuned({ ...again, mesh: 'pp=2', steps: 4 });
    expect(after.at(-1)).toMatchObject({ type: 'tuned', step: last.step + 4, stopped: false });
    const more = await tuned({ out: out('left'), resume: true, steps: 2, device: 'cpu', exitDevice: 'cpu' });
    expect(more.at(-1)).toMatchObject({ type: 'tuned', step: last.step + 6, stopped: false });
  }, 600_000);

  it('says which rank was killed, and goes on from what it had saved', async () => {
    const given = { ...options, ...long, out: out('killed'), on: on(), mesh: 'dp=2' };
    await expect(follow(given, 12, () => process.kill(rankOfRay(), 'SIGKILL'))).rejects.toThrow(
      /^Rank \d of 2 was killed\. Go on from its last state with --resume\.$/,
    );
    const events = await tuned({ out: out('killed'), resume: true, on: on(), mesh: 'pp=2', steps: 4 });
    expect(events.at(-1)).toMatchObject({ type: 'tuned', stopped: false });
  }, 600_000);

  it('that does not see the run’s folder is refused before anything is prepared', async () => {
    const hiddenOut = path.join(hidden, 'unseen.exits');
    await expect(tuned({ ...options, out: hiddenOut, on: on(), mesh: 'dp=2' })).rejects.toThrow(
      `can read ${hiddenOut}, where the run would be`,
    );
    expect(fs.existsSync(hiddenOut)).toBe(false);
  }, 300_000);
});

interface Cluster {
  readonly url: string;
  stop(): Promise<void>;
}

/** A folder for Python's path: with it, no Python opens anything below `hidden`. */
function keptOut(root: string, hidden: string): string {
  const folder = path.join(root, 'kept-out');
  fs.mkdirSync(folder);
  fs.writeFileSync(
    path.join(folder, 'sitecustomize.py'),
    `import os, sys
def watch(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], (str, bytes)):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(${JSON.stringify(`${hidden}/`)}):
            raise PermissionError(path)
sys.addaudithook(watch)
`,
  );
  return folder;
}

/** The process of one of the ranks, which Ray names for what it does. */
function rankOfRay(): number {
  const found = fs.readdirSync('/proc').find((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('ray::Rank.run');
    } catch {
      return false;
    }
  });
  return Number(found);
}

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A cluster of one node, which the test owns: `--block` ends everything that it started on request. */
async function startRay(python: string, more: Record<string, string>): Promise<Cluster> {
  const bin = path.dirname(python);
  // Its sockets have names that must be short.
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'r-'));
  const [port, dashboard] = [await freePort(), await freePort()];
  const words = [
    ...['start', '--head', '--block', `--port=${port}`, '--num-cpus=2', `--temp-dir=${folder}`],
    ...['--include-dashboard=true', '--dashboard-host=127.0.0.1', `--dashboard-port=${dashboard}`],
    '--object-store-memory=100000000',
  ];
  // Ray would let every other program go before its ranks.
  const own = { RAY_USAGE_STATS_ENABLED: '0', RAY_worker_niceness: '0', OMP_NUM_THREADS: '1' };
  const environment = { ...process.env, ...more, ...own };
  const head = spawn(path.join(bin, 'ray'), words, {
    env: { ...environment, PATH: `${bin}:${process.env['PATH']}` },
    stdio: 'ignore',
  });
  const ended = new Promise<void>((resolve) => void head.on('close', () => resolve()));
  const stop = async (): Promise<void> => {
    head.kill('SIGTERM');
    await ended;
    fs.rmSync(folder, { recursive: true, force: true });
  };
  const url = `http://127.0.0.1:${dashboard}`;
  for (let tries = 0; ; tries++) {
    // Its agent, which takes jobs, comes last.
    if (await takesJobs(url)) return { url, stop };
    if (tries > 300) {
      await stop();
      throw new Error('Ray takes no jobs');
    }
    await setTimeout(1_000);
  }
}

const takesJobs = (url: string): Promise<boolean> =>
  submitRayJob(url, newRayJobId(), 'this', [], {}).then(
    () => true,
    () => false,
  );
