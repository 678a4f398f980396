/**
 * What sections found: a file for each in docs/results/, and docs/results.md, a reader's questions with their answers. Results of
 * sections that were not run are kept.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import { busy, type Machine } from './machine.ts';
import type { Clock, Measurement } from './measure.ts';
import { answers, questions, type Question } from './questions.ts';

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
  /** Empty in a section that does not go through models. */
  readonly model: string;
  readonly machine: Machine;
  readonly date: string;
  readonly seconds: number;
  /** Share of the processors that other work took right before. */
  readonly others: number;
  /** By which seconds were taken; `wall` where nothing is said. */
  readonly clock?: Clock;
  /** How many of the judged tasks; the section's own number where nothing is said. */
  readonly first?: number;
}

export interface SectionResult {
  readonly title: string;
  /** One for each model, processor and number of tasks, those of a model beside each other. */
  readonly parts: readonly Part[];
}

/** With what was found now instead of what the same model gave for as many tasks on the same processor before. */
export function withPart(parts: readonly Part[], found: Part): Part[] {
  const isSame = ({ model, machine, first }: Part): boolean =>
    model === found.model && machine.processor === found.machine.processor && first === found.first;
  if (parts.some(isSame)) return parts.map((part) => (isSame(part) ? found : part));
  const last = parts.findLastIndex(({ model }) => model === found.model);
  return last < 0 ? [...parts, found] : [...parts.slice(0, last + 1), found, ...parts.slice(last + 1)];
}

/** By section name. */
export type Results = Readonly<Record<string, SectionResult>>;

/** Those of `<folder>/results/<section>.json`. */
export function readResults(folder: string): Results {
  const files = path.join(folder, 'results');
  if (!existsSync(files)) return {};
  const names = readdirSync(files).filter((name) => name.endsWith('.json'));
  const read = (name: string): SectionResult =>
    JSON.parse(readFileSync(path.join(files, name), 'utf8')) as SectionResult;
  return Object.fromEntries(names.sort().map((name) => [path.basename(name, '.json'), read(name)]));
}

/** Writes the file of a section, and the page of all. */
export async function writeResults(folder: string, results: Results, section: string): Promise<string[]> {
  mkdirSync(path.join(folder, 'results'), { recursive: true });
  const data = path.join(folder, 'results', `${section}.json`);
  const style = await resolveConfig(data);
  writeFileSync(data, await format(JSON.stringify(results[section]), { ...style, filepath: data }));
  const page = path.join(folder, 'results.md');
  writeFileSync(page, resultsPage(readResults(folder)));
  return [page, data];
}

const introduction = `Written by \`npm run bench\` from [results](results), where every sample is; do not edit. What was tried by hand, and what failed, is in [lab.md](lab.md).

Contestants take turns within one run. A figure is the median, with the minimum in brackets where there are two; ratios are of medians, in brackets of minima. Two figures compare where they are of one machine, which stands under each table; a model that was measured on several processors has rows for each.`;

/** The page. A section that no question asks for stands under its own title. */
export function resultsPage(results: Results): string {
  const requested = questions.filter(({ section }) => section in results);
  const others = Object.keys(results)
    .filter((name) => questions.every(({ section }) => section !== name))
    .map((section): Question => ({ question: results[section]!.title, section }));
  const all = [...requested, ...others];
  const goals = Object.entries(results).flatMap(([section, { parts }]) =>
    parts.flatMap(({ machine, goals }) => goals.map((goal) => ({ section, goal, processor: machine.processor }))),
  );
  const met = goals.filter(({ goal }) => isMet(goal)).length;
  const first = (question: Question): boolean => all.find(({ section }) => section === question.section) === question;
  const blocks = [
    '# Results',
    introduction,
    ...all.flatMap((question) => answerLines(question, results[question.section]!, first(question))),
    ...(goals.length ? ['## Which goals are met?', `${met} of ${goals.length}.`, goalsTable(goals)] : []),
  ];
  return `${blocks.join('\n\n')}\n`;
}

/** Notes stand with a section's first question. */
function answerLines(question: Question, result: SectionResult, withNotes: boolean): string[] {
  const { parts } = result;
  const notes = withNotes ? [...new Set(parts.flatMap((part) => part.notes))] : [];
  const tables = answers(question, result);
  return [
    `## ${question.question}`,
    ...tables.flatMap(({ caption, columns, rows }) => [
      ...(tables.length > 1 ? [`**${caption}**`] : []),
      markdownTable(columns, rows),
    ]),
    originLines(question.section, parts),
    ...(notes.length ? [notes.map((note) => `- ${note}`).join('\n')] : []),
  ];
}

/** Where and when: a line a machine, with the models that ran there if there are several. */
function originLines(section: string, parts: readonly Part[]): string {
  const byOrigin = new Map<string, string[]>();
  for (const part of parts) {
    const { machine, date, others, clock = 'wall' } = part;
    const { processor, cores, memory, system, node } = machine;
    const busyness = `other work took ${(100 * others).toFixed(0)} % of the processors`;
    const how =
      clock === 'processor'
        ? `; processor time of one thread, since ${busyness}`
        : others > busy
          ? `. **Not to be relied on: ${busyness}**`
          : '';
    const where = `${processor}, ${cores} cores, ${memory} GB, ${system}, Node ${node}, ${date}${how}`;
    const of = part.first === undefined ? part.model : `${part.model} (first ${part.first} tasks)`;
    byOrigin.set(where, [...(byOrigin.get(where) ?? []), of]);
  }
  const isOf = (names: readonly string[]): boolean => byOrigin.size > 1 && names.some((name) => name !== '');
  const lines = [...byOrigin].map(([where, names]) => (isOf(names) ? `${names.join(', ')}: ${where}` : where));
  return `_\`npm run bench -- ${section}\`. ${lines.join('. ')}._`;
}

const isMet = ({ value, bound, limit }: Goal): boolean => (bound === 'at least' ? value >= limit : value <= limit);

function goalsTable(goals: readonly { section: string; goal: Goal; processor: string }[]): string {
  const amount = (value: number, unit: string): string => `${figures(value)}${unit}`;
  const rows = goals.map(({ section, goal, processor }) => [
    goal.what,
    `${goal.bound} ${amount(goal.limit, goal.unit)}${goal.reach === undefined ? '' : ` (reach for ${amount(goal.reach, goal.unit)})`}`,
    amount(goal.value, goal.unit),
    isMet(goal) ? 'yes' : '**no**',
    section,
    processor,
  ]);
  return markdownTable(['what', 'goal', 'measured', 'met', 'section', 'processor'], rows);
}

/** Figures stand right, words left. */
function markdownTable(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  const isFigures = (column: number): boolean =>
    column > 0 && rows.every((row) => /^(\*\*)?([\d−-]|at |yes|no\b|$)/.test(row[column]!));
  return [line(columns), line(columns.map((_, i) => (isFigures(i) ? '--:' : ':--'))), ...rows.map(line)].join('\n');
}

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
