/**
 * Files of tasks: HumanEval, HumanEval-Infilling and GSM8K as they are published, and lines that name their form (docs/formats.md). Errors
 * in a file are reported with their line before anything is written.
 */
import { createHash } from 'node:crypto';
import { closeSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { userError, UserError } from '../../../protocol/errors.ts';
import { anyRecord, count, flag, list, number, oneOf, readMessage, record, text } from '../../../protocol/shapes.ts';
import { fileError, openRegular } from '../../system/files.ts';
import { languages, type Language } from './sandbox.ts';
import { letterOf, measureOf, textMetrics, type Task, type TaskForm, type TaskSet, type TextMetric } from './task.ts';

export interface TaskFile {
  readonly path: string;
  /** Of the file on disk, packed or not. */
  readonly sha256: string;
  readonly sets: readonly TaskSet[];
}

/** Largest text of a file, unpacked. */
const mostBytes = 2 ** 28;

/**
 * @throws UserError if a file cannot be read, a line is no task, or there is none. `first`: the number of tasks that are read; null reads
 * all.
 */
export function readTasks(path: string, first: number | null): TaskFile {
  const bytes = readBytes(path);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const name = basename(path)
    .replace(/\.gz$/, '')
    .replace(/\.jsonl?$/, '');
  const tasks: Task[] = [];
  let left = first ?? Infinity;
  const lines = unpacked(path, bytes)
    .replace(/^\uFEFF/, '')
    .split('\n');
  for (const [i, line] of lines.entries()) {
    if (line.trim() === '') continue;
    if (left-- <= 0) break;
    tasks.push(...tasksOf(line, `${path}:${i + 1}`, i + 1));
  }
  if (tasks.length === 0)
    throw userError('bad-data', `${path} holds no task.`, 'A task is a line of JSON; see docs/formats.md.');
  const twice = duplicate(tasks);
  if (twice)
    throw userError('bad-data', `${twice.place}: there is another task ${JSON.stringify(twice.id)} before it.`);
  const measures = [...new Set(tasks.map(measureOf))];
  const sets = measures.map((measure) => ({
    name: measures.length === 1 ? name : `${name}: ${measure}`,
    tasks: tasks.filter((task) => measureOf(task) === measure),
  }));
  return { path, sha256, sets };
}

function readBytes(path: string): Buffer {
  const descriptor = openRegular(path);
  try {
    return readFileSync(descriptor);
  } catch (error) {
    throw fileError(error, 'read', path);
  } finally {
    closeSync(descriptor);
  }
}

function unpacked(path: string, bytes: Buffer): string {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.toString('utf8');
  try {
    return gunzipSync(bytes, { maxOutputLength: mostBytes }).toString('utf8');
  } catch (error) {
    throw userError('bad-data', `${path} cannot be unpacked.`, 'It may be cut off: fetch it again.', error);
  }
}

const duplicate = (tasks: readonly Task[]): Task | undefined => {
  const known = new Set<string>();
  return tasks.find((task) => {
    const key = `${measureOf(task)} ${task.id}`;
    return known.has(key) || !known.add(key);
  });
};

/** A choice is two tasks: by the letter that is written, and by likelihood. */
function tasksOf(line: string, place: string, number: number): Task[] {
  const value = parsed(line, place);
  const id = ['id', 'task_id'].map((name) => value[name]).find((each) => typeof each === 'string');
  try {
    return formsOf(value, place).map(({ canonical, ...form }) => ({
      ...form,
      id: id ?? `line ${number}`,
      place,
      canonical,
    }));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw userError('bad-data', error.message, error.wayOut ?? 'The forms are in docs/formats.md.', error);
  }
}

function parsed(line: string, place: string): Record<string, unknown> {
  try {
    return readMessage(place, anyRecord, JSON.parse(line));
  } catch (error) {
    throw userError('bad-data', `${place} is no task: it must be a line of JSON, an object.`, undefined, error);
  }
}

type Read = TaskForm & { readonly canonical: string | null };

function formsOf(value: Record<string, unknown>, place: string): Read[] {
  if ('form' in value) return plain(value, place);
  if ('test' in value || 'entry_point' in value) return [humanEval(value, place)];
  if ('question' in value) return [gsm8k(value, place)];
  throw userError(
    'bad-data',
    `${place}: this is no task of a kind that is known.`,
    'HumanEval has test, GSM8K question, any other a form; see docs/formats.md.',
  );
}

const humanEvalShape = record<
  { prompt: string; entry_point: string; test: string },
  { canonical_solution: string; suffix: string }
>({ prompt: text, entry_point: text, test: text }, { canonical_solution: text, suffix: text });

function humanEval(value: Record<string, unknown>, place: string): Read {
  const { prompt, entry_point, test, suffix, canonical_solution } = readMessage(place, humanEvalShape, value);
  if (!/^[A-Za-z_]\w*$/.test(entry_point)) throw userError('bad-data', `${place}: entry_point must be a name.`);
  const tests = `${test}\ncheck(${entry_point})\n`;
  const canonical = canonical_solution ?? null;
  if (suffix === undefined) return { form: 'code', prompt, language: 'python', tests, canonical };
  // The solution fills the gap to the last character: spaces behind a line's end begin a line.
  const isLine = canonical !== null && !canonical.trimStart().slice(0, -1).includes('\n');
  const goesOn = canonical !== null && !canonical.endsWith('\n') && !isBlank(firstLine(suffix));
  return { form: 'fill', prefix: prompt, suffix, isLine, goesOn, language: 'python', tests, line: null, canonical };
}

const firstLine = (text: string): string => text.split('\n', 1)[0]!;
const isBlank = (text: string): boolean => text.trim() === '';

/** Whether there is text on both sides of a gap in its line. */
const isWithinLine = (prefix: string, suffix: string): boolean =>
  !isBlank(prefix.slice(prefix.lastIndexOf('\n') + 1)) && !isBlank(firstLine(suffix));

const gsm8kShape = record({ question: text, answer: text });

function gsm8k(value: Record<string, unknown>, place: string): Read {
  const { question, answer } = readMessage(place, gsm8kShape, value);
  const [, number] = /####\s*(-?[\d,]*\.?\d+)\s*$/.exec(answer) ?? [];
  if (number === undefined) throw userError('bad-data', `${place}: answer must end with #### and a number.`);
  return { form: 'number', prompt: question, answer: Number(number.replaceAll(',', '')), canonical: answer };
}

const formShape = record({ form: oneOf('code', 'fill', 'number', 'text', 'choice') });
const codeShape = record<{ prompt: string; tests: string }, { language: Language; solution: string }>(
  { prompt: text, tests: text },
  { language: oneOf(...languages), solution: text },
);
const fillShape = record<
  { prefix: string; suffix: string },
  { tests: string; answer: string; line: boolean; language: Language }
>({ prefix: text, suffix: text }, { tests: text, answer: text, line: flag, language: oneOf(...languages) });
const numberShape = record({ prompt: text, answer: number });
const textShape = record<{ prompt: string; answers: string[] }, { metric: TextMetric }>(
  { prompt: text, answers: list(text) },
  { metric: oneOf(...textMetrics) },
);
const choiceShape = record({ prompt: text, choices: list(text), answer: count });

function plain(value: Record<string, unknown>, place: string): Read[] {
  const { form } = readMessage(place, formShape, value);
  switch (form) {
    case 'code': {
      const { prompt, tests, language = 'python', solution = null } = readMessage(place, codeShape, value);
      return [{ form, prompt, tests, language, canonical: solution }];
    }
    case 'fill': {
      const read = readMessage(place, fillShape, value);
      const { prefix, suffix, tests = null, answer = null, language = 'python' } = read;
      if (tests === null && answer === null)
        throw userError('bad-data', `${place}: tests or answer must say what is right.`);
      const line = tests === null ? answer : null;
      const isLine = read.line ?? (answer !== null && !answer.trim().includes('\n'));
      const goesOn = isWithinLine(prefix, suffix) && answer?.endsWith('\n') !== true;
      return [{ form, prefix, suffix, tests, line, language, isLine, goesOn, canonical: answer }];
    }
    case 'number': {
      const { prompt, answer } = readMessage(place, numberShape, value);
      return [{ form, prompt, answer, canonical: String(answer) }];
    }
    case 'text': {
      const { prompt, answers: references, metric = 'exact' } = readMessage(place, textShape, value);
      if (references.length === 0) throw userError('bad-data', `${place}: answers must hold a text.`);
      return [{ form, prompt, references, metric, canonical: references[0]! }];
    }
    case 'choice': {
      const { prompt, choices, answer } = readMessage(place, choiceShape, value);
      if (choices.length < 2 || choices.length > 26)
        throw userError('bad-data', `${place}: choices must be 2 to 26 texts.`);
      if (answer >= choices.length)
        throw userError('bad-data', `${place}: answer must be one of 0 to ${choices.length - 1}.`);
      return (['letter', 'likelihood'] as const).map((by) => ({
        form,
        prompt,
        choices,
        answer,
        by,
        canonical: letterOf(answer),
      }));
    }
  }
}
