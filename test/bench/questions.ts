/** What a reader of docs/results.md asks, and the part of a section's tables that answers it. Knows no file. */
import type { Part, SectionResult, Table } from './report.ts';

export interface Question {
  readonly question: string;
  readonly section: string;
  /** Which tables, by what follows the model in their captions; all by default. */
  readonly tables?: RegExp;
  /** Which columns, in this order; all by default. */
  readonly columns?: readonly string[];
  /** Which rows, by their first cell; all by default. */
  readonly rows?: RegExp;
}

const speeds = ['context', 'fast, tokens/s', 'llama.cpp, tokens/s', '`fast` ÷ llama.cpp'];
const ways = ['', 'tokens/s', '÷ full depth', 'mean layer', 'agreement', 'loss'];

export const questions: readonly Question[] = [
  {
    question: 'How fast is a model without exits, beside llama.cpp?',
    section: 'decode',
    tables: /^next tokens/,
    columns: speeds,
  },
  {
    question: 'How fast is a prompt read?',
    section: 'decode',
    tables: /^reading the prompt/,
    columns: speeds,
  },
  {
    question: 'How fast are long contexts?',
    section: 'long',
    columns: speeds,
  },
  { question: 'How long does opening take, and how much memory?', section: 'opening' },
  { question: 'How fast is a mixture of experts, and how much memory does it take?', section: 'mixture' },
  { question: 'What does a screened head bring, and what does it change?', section: 'head' },
  { question: 'What do a pass of several tokens and a model in stages cost?', section: 'passes' },
  {
    question: 'What do exits bring, and what does it cost?',
    section: 'exits',
    columns: ways,
    rows: /^(full depth|full depth, exact head|fast, calibrated for [\d.]+ (%|nats)(, exits alone)?|lossless|llama\.cpp)$/,
  },
  { question: 'What do exits bring in chats?', section: 'chats', columns: ways },
  { question: 'Do drafts of the text pay, and what do they cost where they do not?', section: 'drafts' },
  {
    question: 'How much sooner is a prompt read that stops at an exit, and what does it cost?',
    section: 'prompt-exit',
  },
  {
    question: 'What does a threshold do that was not calibrated?',
    section: 'exits',
    columns: ways,
    rows: /^fast, threshold [\d.]+$/,
  },
  { question: 'Is lossless exact?', section: 'lossless', columns: ['', 'batch', 'texts that differ'] },
  { question: 'How often is a line that was taken out filled in again, beside llama.cpp?', section: 'holes' },
  { question: 'How often is a line right, and how soon is it there, beside llama.cpp?', section: 'infilling' },
  { question: 'How often is a function right, and how soon is it there, beside llama.cpp?', section: 'humaneval' },
  { question: 'How often is a sum right, and how soon is it there, beside llama.cpp?', section: 'gsm8k' },
  { question: 'What do exits learn in a few minutes, by recipe?', section: 'recipes' },
  { question: 'How fast is a tuning step, beside PyTorch?', section: 'step', tables: /^a whole step/ },
  { question: 'How near is the compiled update to what the machine can do?', section: 'step', tables: /compiled/ },
  { question: 'What does a second epoch cost?', section: 'epochs' },
  { question: 'How much memory does tuning take?', section: 'memory' },
  { question: 'What do batches bring?', section: 'batches' },
  { question: 'How long is the first run?', section: 'start' },
  { question: 'What does the editor wait for?', section: 'editor' },
  { question: 'How long does one wait for a suggestion, beside llama.cpp?', section: 'completions' },
  { question: 'What does a key cost with completions on?', section: 'keystroke' },
];

/**
 * The tables that answer a question: those of one subject are one table with a column for the model. A column that a
 * model's table has not stays empty in its rows.
 */
export function answers({ tables, columns, rows }: Question, { parts }: SectionResult): Table[] {
  const bySubject = new Map<string, { model: string; table: Table }[]>();
  for (const part of parts) {
    for (const table of part.tables) {
      const { model, subject } = splitCaption(table.caption, part.model);
      const own = { model: ownName(model, part, parts), table: cut(table, columns, rows) };
      if (tables?.test(subject) ?? true) bySubject.set(subject, [...(bySubject.get(subject) ?? []), own]);
    }
  }
  return [...bySubject].map(([caption, all]) => joined(caption, all));
}

/** A model's name in a table, with the processor if there is more than one for what the part is of. */
function ownName(name: string, { model, machine }: Part, parts: readonly Part[]): string {
  const isElsewhere = parts.some((part) => part.model === model && part.machine.processor !== machine.processor);
  return [name, ...(isElsewhere ? [machine.processor] : [])].filter((word) => word !== '').join(', ');
}

/** Captions begin with the model, if there is one. */
function splitCaption(caption: string, part: string): { model: string; subject: string } {
  const [, model, subject] = /^(\S+\.gguf|\S+): (.*)$/s.exec(caption) ?? [];
  return model === undefined ? { model: part, subject: caption } : { model, subject: subject! };
}

function cut({ caption, columns, rows }: Table, wanted: readonly string[] = columns, kept?: RegExp): Table {
  const places = wanted === columns ? columns.map((_, i) => i) : wanted.map((name) => columns.indexOf(name));
  return {
    caption,
    columns: wanted,
    rows: rows.filter(([first]) => kept?.test(first!) ?? true).map((row) => places.map((place) => row[place] ?? '')),
  };
}

function joined(caption: string, all: readonly { model: string; table: Table }[]): Table {
  const columns = all[0]!.table.columns;
  const rows = all.flatMap(({ model, table }) => table.rows.map((row, i) => [i === 0 ? model : '', ...row]));
  const named = all.some(({ model }) => model !== '');
  return named
    ? { caption, columns: ['model', ...columns], rows }
    : { caption, columns, rows: rows.map((row) => row.slice(1)) };
}
