import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readTrials } from '../../../backend/evaluation/sweep-file.ts';

let root: string;
beforeAll(() => void (root = mkdtempSync(path.join(tmpdir(), 'trials-'))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function file(content: unknown): string {
  const name = path.join(root, 'my.json');
  writeFileSync(name, typeof content === 'string' ? content : JSON.stringify(content));
  return name;
}

it('makes a trial of every combination, and tries everything once before anything again', () => {
  const trials = readTrials(
    file({ options: { steps: 2 }, grid: { exits: ['8:mlp', '8:lens'], seed: [1, 2], initialise: ['copy', 'fit'] } }),
  );
  expect(trials.map(({ name, what }) => `${name} ${what}`)).toEqual([
    '001 exits 8:mlp, initialise copy, seed 1',
    '002 exits 8:mlp, initialise fit, seed 1',
    '003 exits 8:lens, initialise copy, seed 1',
    '004 exits 8:lens, initialise fit, seed 1',
    '005 exits 8:mlp, initialise copy, seed 2',
    '006 exits 8:mlp, initialise fit, seed 2',
    '007 exits 8:lens, initialise copy, seed 2',
    '008 exits 8:lens, initialise fit, seed 2',
  ]);
  expect(trials[0]!.given).toEqual({ steps: 2, seed: 1, exits: '8:mlp', initialise: 'copy' });
});

it('takes a list of trials as well, and one alone', () => {
  const trials = readTrials(file({ options: { steps: 2 }, trials: [{ exits: '4' }, { exits: '8', steps: 3 }] }));
  expect(trials.map(({ given }) => given)).toEqual([
    { steps: 2, exits: '4' },
    { steps: 3, exits: '8' },
  ]);
  expect(readTrials(file({ options: { steps: 2 } })).map(({ what }) => what)).toEqual(['as given']);
  // With a byte order mark.
  expect(readTrials(file('\uFEFF{"options": {"steps": 2}}')).map(({ what }) => what)).toEqual(['as given']);
});

it.each([
  ['{', /is no sweep: it is not JSON/],
  [[], /must be an object/],
  [{ learningRate: 1 }, /has "learningRate", and a sweep has options, grid and trials/],
  [{ options: { learningRat: 1 } }, /learningRat in .*my\.json is no option of tune/],
  [{ grid: { steps: [0] } }, /steps in .*my\.json must be a whole number of at least 1/],
  [{ grid: { steps: [] } }, /grid\.steps must be a list of values that is not empty/],
  [{ grid: { steps: 4 } }, /grid\.steps must be a list/],
  [{ options: { out: 'x' } }, /my\.json sets out, which the sweep sets itself/],
  [{ options: { on: 'slurm' } }, /gives trials to Slurm, which queues them/],
  [{ trials: [] }, /has no trial/],
  [
    { grid: { seed: Array.from({ length: 100 }, (_, i) => i), steps: Array.from({ length: 100 }, (_, i) => i + 1) } },
    /asks for 10000 trials/,
  ],
])('%j is refused before any trial begins', (content, message) => {
  expect(() => readTrials(file(content))).toThrow(message);
});
