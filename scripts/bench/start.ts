/** How long `npm start` takes once the packages are there. */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import type { Result } from './harness.ts';
import type { Setting } from './main.ts';

export async function benchStart({ root, cache }: Setting): Promise<Result[]> {
  const folder = path.join(cache, 'start');
  mkdirSync(folder, { recursive: true });
  const start = performance.now();
  const { status } = spawnSync(process.execPath, [path.join(root, 'dist/cli.js'), 'start'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const seconds = (performance.now() - start) / 1000;
  if (status !== 0) throw new Error(`start ended with ${status}`);
  return [
    {
      benchmark: 'start',
      title: 'The first run: tune, generate, measure on the model that ships',
      unit: 's',
      figures: [{ name: 'early-exit start', best: seconds, median: seconds, rounds: 1 }],
      comparisons: [{ what: 'three minutes ÷ this', ratio: 180 / seconds, atLeast: 1 }],
      notes: [],
    },
  ];
}
