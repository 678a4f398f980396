/** A run killed with SIGKILL at any point resumes to the same metrics, exits and state as one that was not. */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openCheckpoint } from '../../backend/checkpoint/checkpoint.ts';
import { bundled } from '../support/bundled.ts';
import { fakeParameter } from '../unit/tuning/fakes.ts';

let root: string;
beforeAll(() => (root = fs.mkdtempSync(path.join(os.tmpdir(), 'resume-'))));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

/** Runs the child; kills it this number of milliseconds after it is ready. */
function run(name: string, pause: number, killAfter: number | null): Promise<'done' | 'killed'> {
  const child = spawn(
    process.execPath,
    [bundled('resume-child'), path.join(root, `${name}.exits`), path.join(root, `${name}.cache`), String(pause)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  return new Promise((resolve, reject) => {
    let output = '';
    child.stdout.on('data', (data: Buffer) => {
      const wasReady = output.includes('ready');
      output += data.toString();
      if (killAfter !== null && !wasReady && output.includes('ready'))
        setTimeout(() => child.kill('SIGKILL'), killAfter);
    });
    child.on('close', (code, signal) => {
      if (output.includes('done')) resolve('done');
      else if (signal === 'SIGKILL') resolve('killed');
      else reject(new Error(`the child ended with ${code}`));
    });
  });
}

const files = (name: string): { metrics: string; state: Buffer; position: object } => {
  const directory = path.join(root, `${name}.exits`);
  const json = JSON.parse(fs.readFileSync(path.join(directory, 'state', 'state.json'), 'utf8')) as {
    file: string;
    position: object;
  };
  return {
    metrics: fs.readFileSync(path.join(directory, 'metrics.jsonl'), 'utf8'),
    state: fs.readFileSync(path.join(directory, 'state', json.file)),
    position: { ...json.position, seconds: 0, ending: null },
  };
};

it('ends the same however often it was killed', async () => {
  expect(await run('whole', 0, null)).toBe('done');
  let kills = 0;
  let random = 12345;
  const next = (): number => (random = (random * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
  // Sittings of up to 160 ms of a run of 60 steps of some 20 ms each; longer ones on a busy machine, until it gets somewhere.
  while ((await run('killed', 15, (20 + 140 * next()) * 1.15 ** kills)) === 'killed') {
    kills++;
    expect(kills).toBeLessThan(60);
  }
  expect(kills).toBeGreaterThan(5);
  const whole = files('whole');
  const killed = files('killed');
  expect(killed.metrics.split('\n')).toEqual(whole.metrics.split('\n'));
  expect(whole.metrics.trim().split('\n')).toHaveLength(60 + 9);
  expect(killed.state.equals(whole.state)).toBe(true);
  expect(killed.position).toEqual(whole.position);
  const [a, b] = ['whole', 'killed'].map((name) => openCheckpoint(path.join(root, `${name}.exits`), null));
  expect(b!.progress).toEqual(a!.progress);
  expect(b!.values(fakeParameter)).toEqual(a!.values(fakeParameter));
  for (const checkpoint of [a, b]) checkpoint!.close();
  const left = fs.readdirSync(path.join(root, 'killed.exits')).sort();
  expect(left).toEqual(['README.md', 'exits.json', 'exits.safetensors', 'metrics.jsonl', 'state']);
}, 120_000);
