/**
 * What sections found, as docs/results.json and docs/results.md. Results of sections that were not run are kept, and so is
 * what people wrote between `<!-- text NAME -->` and `<!-- /text -->`.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import { busy, type Machine } from './machine.ts';
import type { Measurement } from './measure.ts';

export interface Goal {
  readonly what: string;
  readonly value: number;
  /** Such as `×` or ` GB`. */
  readonly unit: string;
  readonly bound: 'at least' | 'at most';
  readonly limit: number;
  /** What to reach for beyond the limit. */
  readonly reach?: number;
}

export interface Table {
  readonly caption: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** What one section found. */
export interface Findings {
  readonly goals: readonly Goal[];
  readonly tables: readonly Table[];
  /** What the reader must know of how it was measured; whole sentences. */
  readonly notes: readonly string[];
  readonly measurements: readonly Measurement[];
}

/** What one run of a section found, and where. */
export interface Part extends Findings {
  readonly machine: Machine;
  readonly date: string;
  readonly seconds: number;
  /** Share of the processors that other work took right before. */
  readonly others: number;
}

export interface SectionResult {
  readonly title: string;
  /** By model, in a section that goes through models; else one part without a name. */
  readonly parts: Readonly<Record<string, Part>>;
}

/** By section name. */
export type Results = Readonly<Record<string, SectionResult>>;

/** Places for text besides one a section: before the first and after the last. */
const opening = 'opening';
const closing = 'closing';

export function readResults(file: string): Results {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Results) : {};
}

/** Writes both files; `order` is that of the sections. */
export async function writeResults(folder: string, results: Results, order: readonly string[]): Promise<string[]> {
  mkdirSync(folder, { recursive: true });
  const page = path.join(folder, 'results.md');
  const data = path.join(folder, 'results.json');
  const before = existsSync(page) ? readFileSync(page, 'utf8') : '';
  writeFileSync(page, resultsPage(results, order, before));
  const style = await resolveConfig(data);
  writeFileSync(data, await format(JSON.stringify(results), { ...style, filepath: data }));
  return [page, data];
}

/** The page, with the texts of `before` in their places; a text whose section is gone goes to the end. */
export function resultsPage(results: Results, order: readonly string[], before: string): string {
  const texts = textsOf(before);
  const place = (name: string): string => {
    const text = texts.get(name) ?? '';
    texts.delete(name);
    return marked(name, text);
  };
  const names = order.filter((name) => name in results);
  const parts = [
    '# Results',
    'Written by `npm run bench`; what stands between the marks `text` is written by hand and kept. Contestants take turns within one run; a figure is the median, with the minimum in brackets where there are two. Ratios are of medians, in brackets of minima.',
    place(opening),
    goalsTable(
      names.flatMap((name) =>
        Object.values(results[name]!.parts).flatMap(({ goals }) => goals.map((goal) => ({ section: name, goal }))),
      ),
    ),
    ...names.flatMap((name) => [...sectionLines(name, results[name]!), place(name)]),
    place(closing),
  ];
  const orphans = [...texts].filter(([, text]) => text !== '').map(([name, text]) => marked(name, text));
  return `${[...parts, ...orphans].filter((part) => part !== '').join('\n\n')}\n`;
}

function sectionLines(name: string, { title, parts }: SectionResult): string[] {
  const notes = [...new Set(Object.values(parts).flatMap((part) => part.notes))];
  return [
    `## ${title}`,
    ...Object.values(parts).flatMap((part) => partLines(name, part)),
    ...(notes.length ? [notes.map((note) => `- ${note}`).join('\n')] : []),
  ];
}

function partLines(section: string, { machine, date, seconds, others, tables }: Part): string[] {
  const { processor, cores, memory, system, node } = machine;
  return [
    `\`npm run bench -- ${section}\` · ${date} · ${processor}, ${cores} cores, ${memory} GB, ${system}, Node ${node} · took ${duration(seconds)}`,
    ...(others > busy
      ? [`**Not to be relied on: other work took ${(100 * others).toFixed(0)} % of the processors before it began.**`]
      : []),
    ...tables.flatMap((table) => [`**${table.caption}**`, markdownTable(table.columns, table.rows)]),
  ];
}

const isMet = ({ value, bound, limit }: Goal): boolean => (bound === 'at least' ? value >= limit : value <= limit);

function goalsTable(goals: readonly { section: string; goal: Goal }[]): string {
  if (goals.length === 0) return '';
  const amount = (value: number, unit: string): string => `${figures(value)}${unit}`;
  const rows = goals.map(({ section, goal }) => [
    goal.what,
    `${goal.bound} ${amount(goal.limit, goal.unit)}${goal.reach === undefined ? '' : ` (reach for ${amount(goal.reach, goal.unit)})`}`,
    amount(goal.value, goal.unit),
    isMet(goal) ? 'yes' : '**no**',
    section,
  ]);
  return markdownTable(['what', 'goal', 'measured', 'met', 'section'], rows);
}

function markdownTable(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(columns), line(columns.map((_, i) => (i === 0 ? ':--' : '--:'))), ...rows.map(line)].join('\n');
}

/** Texts between marks, by name. */
export function textsOf(page: string): Map<string, string> {
  const marks = /<!-- text ([\w-]+) -->\n?([^]*?)\n?<!-- \/text -->/g;
  return new Map([...page.matchAll(marks)].map(([, name, text]) => [name!, text!.trim()]));
}

const marked = (name: string, text: string): string =>
  `<!-- text ${name} -->\n${text === '' ? '' : `\n${text}\n\n`}<!-- /text -->`;

/** Three digits, no more. */
export const figures = (value: number): string =>
  Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2);

/** `1.31 (1.28)`: by medians, and by minima in brackets. */
export const both = ({ median, minimum }: { median: number; minimum: number }): string =>
  `${figures(median)} (${figures(minimum)})`;

/** Milliseconds, median and minimum. */
export const milliseconds = (measured: Measurement, per = 1): string =>
  both({ median: (1000 * measured.median) / per, minimum: (1000 * measured.minimum) / per });

/** How much `work` a second. */
export const rate = (measured: Measurement, work: number): string => figures(work / measured.median);

const duration = (seconds: number): string =>
  seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
