/** The whole of tuning, killed with SIGKILL again and again, ends with the metrics and the exits of a run that was not. */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bundled } from '../support/bundled.ts';

let root: string;
beforeAll(() => (root = fs.mkdtempSync(path.join(os.tmpdir(), 'resume-recipe-'))));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

/** Runs a sitting; kills it this number of milliseconds after it has reported `steps` steps. */
function sitting(name: string, options: Record<string, unknown>, steps: number, delay: number): Promise<boolean> {
  const given = {
    model: 'models/typescript-5m',
    data: ['protocol/**/*.ts'],
    exits: '4:mlp,8:lens',
    shortlist: 200,
    sequenceLength: 64,
    batchSize: 2,
    heldOutFraction: 0.2,
    evaluationTokens: 256,
    fitTokens: 2048,
    steps: 14,
    evaluateEvery: 5,
    learningRate: 1e-3,
    device: 'cpu',
    exitDevice: 'cpu',
    out: path.join(root, `${name}.exits`),
    ...options,
  };
  const child = spawn(process.execPath, [bundled('resume-recipe-child'), JSON.stringify(given)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, EARLY_EXIT_CACHE: path.join(root, `${name}.cache`) },
  });
  let output = '';
  let killing = false;
  child.stdout.on('data', (data: Buffer) => {
    output += data.toString();
    if (!killing && output.trim().split('\n').length >= steps) {
      killing = true;
      setTimeout(() => child.kill('SIGKILL'), delay);
    }
  });
  return new Promise((resolve, reject) => {
    child.on('close', (code, signal) => {
      if (output.includes('done')) resolve(true);
      else if (signal === 'SIGKILL') resolve(false);
      else reject(new Error(`the child ended with ${code}`));
    });
  });
}

const read = (name: string, file: string): Buffer => fs.readFileSync(path.join(root, `${name}.exits`, file));

/** A run in one sitting, and one that is killed again and again. */
async function bothWays(whole: string, killed: string, options: Record<string, unknown>): Promise<void> {
  expect(await sitting(whole, options, Infinity, 0)).toBe(true);
  const delays = [3, 41, 17, 0, 29];
  let done = await sitting(killed, options, 2, 9);
  let kills = 0;
  const on = Object.fromEntries(Object.keys(options).map((name) => [name, undefined]));
  for (; !done; kills++) {
    expect(kills).toBeLessThan(12);
    const goOn = { ...on, resume: true, steps: undefined };
    done = await sitting(killed, goOn, 4 + 3 * kills, delays[kills % delays.length]!);
  }
  expect(kills).toBeGreaterThan(1);
  expect(read(killed, 'metrics.jsonl').toString().split('\n')).toEqual(
    read(whole, 'metrics.jsonl').toString().split('\n'),
  );
  expect(read(killed, 'exits.safetensors').equals(read(whole, 'exits.safetensors'))).toBe(true);
}

it('ends the same', () => bothWays('whole', 'killed', {}), 300_000);

it('ends the same where the whole model is trained', async () => {
  const further = {
    continuePretraining: path.join(root, 'whole.exits'),
    exits: 'auto',
    sequenceLength: 16,
    steps: 8,
    evaluateEvery: 3,
  };
  await bothWays('further', 'further-killed', further);
  const weights = (name: string): Buffer => fs.readFileSync(path.join(root, name, 'model.safetensors'));
  expect(weights('further').equals(weights('further-killed'))).toBe(true);
}, 600_000);
