/** Alone in its file: it moves the temporary folder, which others need. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as passed } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { openSandbox } from '../../../../backend/evaluation/tasks/sandbox.ts';

let root: string;
beforeAll(() => void (root = mkdtempSync(join(tmpdir(), 'killed-'))));
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true, force: true });
});

/** Each writes a file again and again, and needs next to no processor. */
const programs = {
  python: 'import time\nwhile True:\n  open("beat", "w").close()\n  time.sleep(0.02)',
  javascript: 'setInterval(() => require("fs").writeFileSync("beat", ""), 20)',
};
const judging = `
const { openSandbox } = await import(${JSON.stringify(new URL('../../../../backend/evaluation/tasks/sandbox.ts', import.meta.url).href)});
const sandbox = await openSandbox(new Set(['python', 'javascript']), undefined, 2);
const programs = ${JSON.stringify(programs)};
await Promise.all(Object.keys(programs).map((language) => sandbox.run(programs[language], language)));`;

const folders = (): string[] => readdirSync(root).filter((name) => name.startsWith('early-exit-judge-'));
const beats = (): string[] => folders().map((name) => join(root, name, 'beat'));

// Windows has no groups of processes: what sleeps ends by itself there, or not at all.
it.skipIf(process.platform === 'win32')(
  'no judge outlives a process that is killed, nor its folder the next one',
  async () => {
    const words = ['--import', 'tsx', '--input-type=module', '-e', judging];
    const child = spawn(process.execPath, words, { env: { ...process.env, TMPDIR: root }, stdio: 'inherit' });
    await vi.waitFor(() => expect(beats().filter(existsSync)).toHaveLength(2), { timeout: 20_000 });
    child.kill('SIGKILL');
    await once(child, 'exit');
    await vi.waitFor(
      async () => {
        for (const beat of beats()) rmSync(beat, { force: true });
        await passed(300);
        expect(beats().filter(existsSync)).toEqual([]);
      },
      { timeout: 10_000 },
    );
    expect(folders()).toHaveLength(2);

    // One of a process that runs, and one that only looks like it.
    const others = [`early-exit-judge-${process.pid}-abcdef`, 'early-exit-judge-of-mine'];
    for (const name of others) mkdirSync(join(root, name));
    vi.stubEnv('TMPDIR', root);
    (await openSandbox(new Set())).dispose();
    expect(folders().sort()).toEqual(others);
  },
  60_000,
);
