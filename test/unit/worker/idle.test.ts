import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('closing an engine holds the process until its idle thread has left', async () => {
  const child = path.join(import.meta.dirname, 'idle-child.ts');
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', child]);
  expect(stdout).toBe('progress\nprogress\nprogress\ngoes on\n');
});
