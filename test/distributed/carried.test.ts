/**
 * A run that goes to a cluster which sees nothing of this machine, and comes back: a stand-in for Ray's interface unpacks the packages where Ray
 * would, and starts a rank of PyTorch on them alone. Ray itself: ray.test.ts.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseOptions } from '../../protocol/options.ts';
import type { TuneEvent } from '../../protocol/events.ts';
import { openCheckpoint } from '../../backend/checkpoint/checkpoint.ts';
import type { RuntimeEnvironment } from '../../backend/cluster/ray.ts';
import { tuneElsewhere } from '../../backend/recipes/tune-elsewhere.ts';
import { metricsOf, pythonWithTorch, sameMetrics, shortRun, tinyModel, tuned } from './ranks.ts';

const python = pythonWithTorch();

describe.skipIf(python === null)('a cluster that sees nothing of this machine', () => {
  let root: string;
  let ray: StandIn;
  const out = (name: string): string => path.join(root, `${name}.exits`);
  const options = { ...shortRun, steps: 6, evaluateEvery: 3 };
  beforeAll(async () => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'carried-'));
    process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
    ray = await standIn(path.join(root, 'cluster'));
  });
  afterAll(() => {
    ray.close();
    fs.rmSync(root, { recursive: true, force: true });
  });

  async function away(given: Record<string, unknown>): Promise<TuneEvent[]> {
    const events: TuneEvent[] = [];
    const run = tuneElsewhere(parseOptions('tune', { ...given, on: `ray:${ray.url}` }), new AbortController().signal);
    for await (const event of run) events.push(event);
    return events;
  }

  it('tunes to the metrics of a run here, and goes on with the state that it gave back', async () => {
    const model = tinyModel(root, 'llama-untied');
    await tuned({ ...options, model, out: out('here') });
    const events = await away({ ...options, model, out: out('away'), mesh: 'pp=1' });
    expect(events.at(-1)).toMatchObject({ type: 'tuned', step: 6, stopped: false });
    sameMetrics(out('here'), out('away'));
    expect(fs.readdirSync(out('away')).sort()).toEqual(
      ['README.md', 'exits.json', 'exits.safetensors', 'metrics.jsonl', 'state'].sort(),
    );
    // What the job has is the model, the text and the code: no path of this machine.
    expect(ray.jobs.some(({ entrypoint }) => entrypoint.includes("'--carried'") && entrypoint.includes(root))).toBe(
      false,
    );

    const more = { resume: true, steps: 4 };
    const after = await away({ ...more, out: out('away') });
    expect(after.filter(({ type }) => type === 'warning')).toEqual([
      { type: 'warning', message: 'One rank: the Ray cluster has no GPU. Name more with --mesh.' },
    ]);
    expect(after.at(-1)).toMatchObject({ type: 'tuned', step: 10, stopped: false });
    expect(
      metricsOf(out('away'))
        .filter(({ type }) => type === 'step')
        .map(({ step }) => step),
    ).toEqual(Array.from({ length: 10 }, (_, i) => i + 1));
    const checkpoint = openCheckpoint(out('away'), null);
    expect(checkpoint.exits.length).toBe(3);
    checkpoint.close();
    const forgotten = ray.jobs.filter(({ entrypoint }) => entrypoint.includes("'--forget'"));
    expect(forgotten.length).toBe(2);
  }, 300_000);
});

interface Job {
  readonly entrypoint: string;
  readonly runtime_env: RuntimeEnvironment;
}

interface StandIn {
  readonly url: string;
  readonly jobs: readonly Job[];
  close(): void;
}

/** Ray's interface as far as runs use it; its nodes are folders below `folder`. */
async function standIn(folder: string): Promise<StandIn> {
  const packages = new Map<string, Buffer>();
  const jobs: Job[] = [];
  const logs = path.join(folder, 'logs');
  fs.mkdirSync(logs, { recursive: true });
  const answer = (route: string, method: string, body: Buffer, query: URLSearchParams): string | Buffer | null => {
    const name = path.basename(route);
    if (route.startsWith('/api/packages/')) {
      if (method === 'PUT') packages.set(name, body);
      return packages.has(name) ? '' : null;
    }
    if (route === '/api/jobs/') {
      const job = JSON.parse(body.toString()) as Job;
      jobs.push(job);
      const [, run] = /'--carried' '([^']+)'/.exec(job.entrypoint) ?? [];
      if (run) runRank(unpacked(job.runtime_env, packages, folder), path.join(logs, run));
      return JSON.stringify({ submission_id: `job${jobs.length}` });
    }
    if (route.startsWith('/api/v0/logs/')) {
      const file = path.join(logs, query.get('filename')!);
      return fs.existsSync(file) ? fs.readFileSync(file) : null;
    }
    if (!route.endsWith('/logs')) return JSON.stringify({ status: 'SUCCEEDED', message: null });
    const seen = '{"type": "looked", "gpus": 0, "shares": false, "model": false, "missing": []}';
    return JSON.stringify({ logs: `${seen}\n{"type": "placed", "node": "a0"}\n` });
  };
  const server = http.createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const { pathname, searchParams } = new URL(request.url!, 'http://localhost');
      const text = answer(pathname, request.method!, Buffer.concat(pieces), searchParams);
      response.writeHead(text === null ? 404 : 200).end(text ?? '');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, jobs, close: () => server.close() };
}

/** Each package in a folder of its own, all of which are on Python's path. */
function unpacked(environment: RuntimeEnvironment, packages: ReadonlyMap<string, Buffer>, folder: string): string[] {
  return [environment.working_dir!, ...environment.py_modules!].map((uri) => {
    const name = uri.replace('gcs://', '');
    const [archive, place] = [path.join(folder, name), path.join(folder, path.basename(name, '.zip'))];
    fs.writeFileSync(archive, packages.get(name)!);
    execFileSync(python!, ['-m', 'zipfile', '-e', archive, place]);
    return place;
  });
}

/** As an actor of on_ray.py does. */
function runRank(pythonPath: readonly string[], place: string): void {
  const script = `import sys
from pathlib import Path
from early_exit_distributed.carried import unpack
from early_exit_distributed.rank import run
unpack(Path(sys.argv[1]))
run(sys.argv[1])`;
  const env = { PATH: process.env['PATH'], PYTHONPATH: pythonPath.join(path.delimiter), OMP_NUM_THREADS: '1' };
  execFileSync(python!, ['-c', script, place], { env });
}
