/** `npm start` in a fresh clone of the last commit, with the packages already there: with the exits that ship, and with ones of its own. */
import { spawnSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import path from 'node:path';
import { freshFolder } from '../children.ts';
import { root } from '../material.ts';
import { measurement } from '../measure.ts';
import { figures } from '../report.ts';
import type { Section } from './section.ts';

export const startSection: Section = {
  title: 'The first run',
  takes: 'under three minutes; once, since a minute of it is tuning by the clock',
  each: 'once',
  async run() {
    const clone = freshFolder('start');
    command('git', ['clone', '--quiet', '--depth', '1', `file://${root}`, clone], root);
    symlinkSync(path.join(root, 'node_modules'), path.join(clone, 'node_modules'), 'junction');
    const cache = freshFolder('start-user-cache');
    const timed = (...words: readonly string[]): number => {
      const started = performance.now();
      command('npm', ['start', '--silent', ...words], clone, { EARLY_EXIT_CACHE: cache });
      return (performance.now() - started) / 1000;
    };
    // The first also builds.
    const shipped = timed();
    const own = timed('--', '--minutes', '1');
    return {
      goals: [
        { what: '`npm start` with the packages there', value: shipped, unit: ' s', bound: 'at most', limit: 60 },
        { what: '`npm start -- --minutes 1`', value: own, unit: ' s', bound: 'at most', limit: 180 },
      ],
      tables: [
        {
          caption: 'From the command to its end: build, or tune and compare; generate, measure',
          columns: ['', 's'],
          rows: [
            ['`npm start`', figures(shipped)],
            ['`npm start -- --minutes 1`', figures(own)],
          ],
        },
      ],
      notes: ['A clone of the last commit with an empty cache of its own.'],
      measurements: [measurement('npm start', [shipped]), measurement('npm start -- --minutes 1', [own])],
    };
  },
};

function command(name: string, args: readonly string[], cwd: string, environment: Record<string, string> = {}): void {
  const { status, error } = spawnSync(name, args, {
    cwd,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
  if (error) throw error;
  if (status !== 0) throw new Error(`${name} ${args[0]!} ended with code ${String(status)}`);
}
