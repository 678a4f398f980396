import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { bundled } from '../../support/bundled.ts';

it('closing an engine holds the process until its idle thread has left', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [bundled('idle-child')]);
  expect(stdout).toBe('progress\nprogress\nprogress\ngoes on\n');
});
