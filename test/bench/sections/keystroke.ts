/** What a key costs the extension host of a real VS Code with completions on, beside off: the integration suite of that name. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { build } from '../children.ts';
import { root } from '../material.ts';
import { measurement } from '../measure.ts';
import { milliseconds } from '../report.ts';
import type { Section } from './section.ts';

export const keystrokeSection: Section = {
  title: 'A key with completions on',
  takes: 'about two minutes, and some more where a VS Code server must be installed',
  each: 'once',
  async run() {
    build();
    const { on, off } = measure();
    const [withThem, without] = [measurement('on', on), measurement('off', off)];
    const name = 'a key on the extension host';
    return {
      goals: [
        {
          what: 'a key with completions on, more than off',
          value: 1000 * (withThem.median - without.median),
          unit: ' ms',
          bound: 'at most',
          limit: 1,
        },
      ],
      tables: [
        {
          caption: 'Milliseconds in which the event loop of the extension host has work, a key',
          columns: ['completions', 'ms'],
          rows: [withThem, without].map((each) => [each.name, milliseconds(each)]),
        },
      ],
      notes: [
        `${on.length} rounds each, in turns, in a real VS Code; what VS Code itself and its own extensions do for a key is in both.`,
      ],
      measurements: [withThem, without].map((each) => ({ ...each, name: `${name}: ${each.name}` })),
    };
  },
};

const rounds = 7;

interface Samples {
  readonly on: number[];
  readonly off: number[];
}

/** Seconds a key. */
function measure(): Samples {
  const driver = path.join(root, 'test/integration/run.ts');
  const { status } = spawnSync(process.execPath, ['--import', 'tsx', driver, 'server', '--only', 'keystroke'], {
    cwd: root,
    env: { ...process.env, EARLY_EXIT_KEYSTROKE_ROUNDS: String(rounds) },
    stdio: ['ignore', 2, 2],
  });
  if (status !== 0) throw new Error('the suite failed');
  const file = path.join(root, '.cache/integration/results.json');
  const suites = JSON.parse(readFileSync(file, 'utf8')) as { results: { notes: string[] }[] }[];
  const { on, off } = JSON.parse(suites[0]!.results[0]!.notes[0]!) as Samples;
  const seconds = (all: number[]): number[] => all.map((each) => each / 1000);
  return { on: seconds(on), off: seconds(off) };
}
