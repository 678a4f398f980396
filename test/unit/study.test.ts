/** What scripts/study.ts refuses. What it keeps is not tried here: other tests read the folder in which it would be. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openRecord } from '../../backend/evaluation/tasks/record.ts';

const name = `test-${process.pid}`;
const kept = path.resolve('docs/study', `${name}.json`);
let folder: string;
beforeEach(() => void (folder = path.join(mkdtempSync(path.join(tmpdir(), 'study-')), 'my.tasks')));
afterEach(() => {
  rmSync(path.dirname(folder), { recursive: true, force: true });
  rmSync(kept, { force: true });
});

/** Two tasks, of which `done` are answered at full depth. */
function evaluation(done: number): void {
  const identity = { model: 'm', modelSha256: 'a', layers: 12, exits: [], exitsSha256: null, tasks: {}, options: {} };
  const about = { ways: ['full'], margin: 2, sets: { t: 2 }, processor: 'p', device: 'cpu' };
  const record = openRecord(folder, identity, about);
  const answer = { answer: 'x', score: 1, ending: null, stop: 'length', tokens: 1, layers: 12, left: {} } as const;
  for (let task = 0; task < done; task++) record.addAnswer({ set: 't', task: `${task}`, way: 'full', ...answer });
  record.close();
}

const study = () => promisify(execFile)(process.execPath, ['--import', 'tsx', 'scripts/study.ts', name, folder]);

it('refuses an evaluation that is unfinished, and names it', async () => {
  evaluation(1);
  await expect(study()).rejects.toThrow(
    `${folder} is unfinished, since the slowest way has 1 of 2 tasks: give the same command of evaluate again`,
  );
  expect(existsSync(kept)).toBe(false);
}, 30_000);
