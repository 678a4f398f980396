import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { bundled } from '../../support/bundled.ts';
import { temporaryFolder } from '../formats/fixtures.ts';

it('keeps nothing in the home of the user, and so sends nothing', () => {
  const home = temporaryFolder();
  const env = { PATH: process.env['PATH'], HOME: home };
  const { stdout } = spawnSync(process.execPath, [bundled('telemetry-child')], { env });
  expect(JSON.parse(stdout.toString())).toEqual([3, { found: ['y'] }]);
  expect(readdirSync(home, { recursive: true })).toEqual([]);
}, 60_000);
