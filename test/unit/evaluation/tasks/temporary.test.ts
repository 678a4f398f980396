/** Alone in its file: it moves the temporary folder, which others need. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { openSandbox, type Sandbox } from '../../../../backend/evaluation/tasks/sandbox.ts';

let root: string;
let sandbox: Sandbox;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'temporary-'));
  sandbox = await openSandbox(new Set(['python', 'javascript']), undefined, 1);
});
afterAll(() => {
  vi.unstubAllEnvs();
  sandbox.dispose();
  rmSync(root, { recursive: true, force: true });
});

it('runs programs in a temporary folder behind a link', async () => {
  mkdirSync(join(root, 'real'));
  symlinkSync(join(root, 'real'), join(root, 'link'));
  vi.stubEnv('TMPDIR', join(root, 'link'));
  expect(await sandbox.run('require("fs").writeFileSync("a", "x")', 'javascript')).toBe('passed');
  expect(await sandbox.run('open("a", "w").write("x")', 'python')).toBe('passed');
  expect(readdirSync(join(root, 'real'))).toEqual([]);
});

it('counts no answer as wrong that could not be run, and goes on once there is a folder', async () => {
  vi.stubEnv('TMPDIR', join(root, 'none'));
  for (const program of ['1', '2'])
    await expect(sandbox.run(program, 'javascript')).rejects.toThrow(/Cannot write .*none/);
  vi.stubEnv('TMPDIR', root);
  expect(await sandbox.run('1', 'javascript')).toBe('passed');
});
