import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { hasInterruptedRun } from '../../../../extension/runs/interrupted-runs.ts';
import { temporaryFolder } from '../../formats/fixtures.ts';

it('finds a run that is on record as running, and nothing in what is no such record', async () => {
  const runs = temporaryFolder();
  const put = (id: string, content: string): void => {
    mkdirSync(path.join(runs, id));
    writeFileSync(path.join(runs, id, 'run.json'), content);
  };
  expect(await hasInterruptedRun(path.join(runs, 'none'))).toBe(false);
  put('finished', JSON.stringify({ summary: { id: 'finished', state: 'finished' }, options: {}, owner: null }));
  put('half', '{"summary": {"state": "runn');
  put('other', '[]');
  mkdirSync(path.join(runs, 'empty'));
  expect(await hasInterruptedRun(runs)).toBe(false);
  put('running', JSON.stringify({ summary: { id: 'running', state: 'running' }, options: {}, owner: null }));
  expect(await hasInterruptedRun(runs)).toBe(true);
});
