/** A process that ends at once takes along what its threads have started. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { expect, it } from 'vitest';

const end = path.resolve(import.meta.dirname, '../../../backend/worker/end.ts');
/** A thread waits for a child, as one that tries a library does; the child says its pid and sleeps. */
const program = `
import { Worker } from 'node:worker_threads';
import { endAtOnce } from ${JSON.stringify(end)};
const child = "console.log(process.pid); setTimeout(() => {}, 60000)";
new Worker(
  "require('node:child_process').spawnSync(process.execPath, ['-e', " + JSON.stringify(child) + "], { stdio: ['ignore', 1, 2] })",
  { eval: true, execArgv: [] },
);
process.stdin.once('data', () => endAtOnce('SIGINT'));
`;

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

it.skipIf(process.platform !== 'linux')('ends its children, too', async () => {
  const parent = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface(parent.stdout), 'line')) as [string];
  const child = Number(line);
  expect(isAlive(child)).toBe(true);
  const ended = once(parent, 'exit');
  parent.stdin.write('\n');
  expect(await ended).toEqual([null, 'SIGINT']);
  // A process that was killed and not yet reaped still has a number.
  for (let tries = 0; tries < 100 && isAlive(child); tries++) await new Promise((resolve) => setTimeout(resolve, 50));
  expect(isAlive(child)).toBe(false);
});
