/** What trials found, kind by kind, as docs/reliability.json, and the page that is made of it. What was not tried again is kept. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import { thisMachine, type Machine } from '../bench/machine.ts';
import { root } from './program.ts';
import type { Tried } from './runner.ts';
import type { Kind } from './trial.ts';

/** One kind, as it was tried. */
export interface KindRecord extends Pick<Kind, 'name' | 'tries' | 'promise' | 'attempts'> {
  readonly held: number;
  readonly failures: readonly { readonly index: number; readonly why: string }[];
  readonly skipped: Readonly<Record<string, number>>;
  readonly seconds: number;
  readonly seed: number;
  /** Short hash, with a `+` where files differed from it. */
  readonly commit: string;
  readonly date: string;
  readonly machine: Machine;
}

/** In the order of the kinds. */
export type Reliability = readonly KindRecord[];

export const docs = path.join(root, 'docs');
const recordIn = (folder: string): string => path.join(folder, 'reliability.json');
export const pageIn = (folder: string): string => path.join(folder, 'reliability.md');

export function recordOf(kind: Kind, seed: number, { held, failures, skipped, seconds }: Tried): KindRecord {
  const { name, tries, promise, attempts } = kind;
  // Paths of this machine are private.
  const brief = failures.map(({ index, why }) => ({ index, why: why.replaceAll(root, '').slice(0, 300) }));
  const found = { name, tries, promise, attempts, held, failures: brief, skipped, seconds: Math.round(seconds), seed };
  return { ...found, commit: commit(), date: new Date().toISOString().slice(0, 10), machine: thisMachine() };
}

/** Puts the record in its place among those of `folder`, and writes the page anew. */
export async function writeReliability(folder: string, record: KindRecord, order: readonly string[]): Promise<void> {
  const before = readReliability(folder).filter(({ name }) => name !== record.name && order.includes(name));
  const all = [...before, record].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  writeFileSync(recordIn(folder), await formatted(recordIn(folder), JSON.stringify(all)));
  writeFileSync(pageIn(folder), await reliabilityPage(all));
}

export function readReliability(folder: string): Reliability {
  const file = recordIn(folder);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Reliability) : [];
}

function commit(): string {
  const git = (...words: string[]): string => spawnSync('git', words, { cwd: root }).stdout.toString().trim();
  return `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain') ? '+' : ''}`;
}

const formatted = async (file: string, text: string): Promise<string> =>
  format(text, { ...(await resolveConfig(file)), filepath: file });

export function reliabilityPage(kinds: Reliability): Promise<string> {
  const sum = (count: (kind: KindRecord) => number): number => kinds.reduce((total, kind) => total + count(kind), 0);
  const [tried, held, failures] = [sum(triedOf), sum((kind) => kind.held), sum((kind) => kind.failures.length)];
  const places = new Set(kinds.map(placeOf));
  const lines = [
    '# Reliability',
    'Written by `npm run trial` from `reliability.json`; do not edit.',
    '## What is promised',
    ...[
      'Whatever files, words, requests and signals it is given, the program ends with 0, 1, 2 (wrong use) or 130 (interrupted), or goes on; never by a crash.',
      'What a person can mend is said in one sentence that names the file or flag: no stack trace, no words of the machinery, no control characters.',
      'Files appear whole or not at all. What is not ours stays as it was; the files of a model are read only.',
      '`tune`, killed at any moment and taken up again, ends with the bytes of a run that was not.',
      'Memory and time keep to the size of what is there, not of what a file claims to be. No process stays behind.',
    ].map((promise) => `- ${promise}`),
    '## What was tried',
    `${whole(held)} of ${whole(tried)} attempts held, ${failures === 0 ? 'none' : whole(failures)} failed, in ${Math.round(sum((kind) => kind.seconds) / 60)} minutes on ${[...places].join('; and on ')}.`,
    table(kinds),
    ...failureLines(kinds),
    '## What was not tried',
    ...[
      ...kinds.flatMap(({ name, skipped }) =>
        Object.entries(skipped).map(([why, count]) => `${whole(count)} attempts of ${name}: ${why}.`),
      ),
      ...kinds
        .filter((kind) => left(kind) > 0)
        .map((kind) => `${whole(left(kind))} attempts of ${kind.name}: the time was up.`),
      'Windows and macOS: the same program, but no trial has run there. Signals, read-only folders and full disks differ most.',
      'GPUs: a driver that fails, or memory that ends, on a real card.',
      'The editor itself: `npm run test:integration` drives it, this trial only the language server beneath it.',
      'Power cuts and disks that lie about what they have written: files are synced before they are renamed, which is as far as a program can go.',
    ].map((what) => `- ${what}`),
  ];
  return formatted(
    pageIn(docs),
    lines
      .join('\n\n')
      .replace(/\n\n(?=- )/g, '\n')
      .replace(/^(## .*)\n(?=- )/gm, '$1\n\n'),
  );
}

const placeOf = ({ machine: { processor, cores, memory, system, node } }: KindRecord): string =>
  `${processor}, ${cores} cores, ${memory} GB, ${system}, Node ${node}`;
const whole = (count: number): string => count.toLocaleString('en');
const skipsOf = ({ skipped }: KindRecord): number => Object.values(skipped).reduce((total, count) => total + count, 0);
const triedOf = ({ held, failures }: KindRecord): number => held + failures.length;
const left = (kind: KindRecord): number => kind.attempts - triedOf(kind) - skipsOf(kind);

function table(kinds: Reliability): string {
  const rows = kinds.map((kind) => [
    kind.name,
    kind.tries,
    kind.promise,
    whole(triedOf(kind)),
    whole(kind.held),
    whole(kind.failures.length),
    `${kind.commit}, ${kind.date}`,
  ]);
  const head = ['kind', 'tried', 'holds where', 'attempts', 'held', 'failed', 'commit'];
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i < 3 ? ':--' : '--:'))), ...rows.map(line)].join('\n');
}

function failureLines(kinds: Reliability): string[] {
  const all = kinds.flatMap(({ name, seed, failures }) => failures.map((failure) => ({ name, seed, ...failure })));
  if (all.length === 0) return [];
  const lines = all.map(
    ({ name, seed, index, why }) =>
      `- \`npm run trial -- --only ${name} --seed ${seed} --attempt ${index}\`: ${JSON.stringify(why)}`,
  );
  return ['### What failed', ...lines];
}
