/**
 * The folder of an evaluation: its identity, and a line for each answer as it is done, so that an evaluation that was killed at any time
 * can be resumed. Knows no model.
 */
import { closeSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { userError } from '../../../protocol/errors.ts';
import { evaluationFile } from '../../../protocol/tasks.ts';
import { stopReasons, type StopReason } from '../../../protocol/trace.ts';
import {
  anyRecord,
  count,
  list,
  nullable,
  number,
  oneOf,
  readMessage,
  record,
  table,
  text,
  type Shape,
} from '../../../protocol/shapes.ts';
import { makeFolder, openCut, readText, writeFileAtomically, writeWhole, writing } from '../../system/files.ts';
import { lockOrRefuse } from '../../system/lock.ts';
import type { Timed } from '../side-by-side.ts';

export const answersFile = 'answers.jsonl';
export const timesFile = 'times.jsonl';

/** Everything that decides the answers: two evaluations with equal identities give equal answers. */
export interface Identity {
  readonly model: string;
  readonly modelSha256: string;
  /** Of the tokenizer with the chat template, which are not in the weights of every model; earlier versions did not write it. */
  readonly tokenizerSha256?: string;
  /** Layers of the model. */
  readonly layers: number;
  /** In the order of the stream. */
  readonly exits: readonly string[];
  /** Of all files of the exits; null if there are none. */
  readonly exitsSha256: string | null;
  /** Files of tasks by name: their hash and the number of their tasks that are evaluated. */
  readonly tasks: Readonly<Record<string, { readonly sha256: string; readonly first: number | null }>>;
  /** The options that change prompts or answers. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** Where something is measured: speeds of two machines, devices or numbers of threads are never compared. */
export interface Machine {
  readonly processor: string;
  readonly device: string;
  /** Absent if no number was given: then it is that of the processor. Earlier versions did not write it. */
  readonly threads?: number;
}

/** Whether something was measured on this machine and device, with as many threads. */
export const isOn = ({ processor, device, threads }: Machine, measured: Machine): boolean =>
  measured.processor === processor && measured.device === device && measured.threads === threads;

/** Other facts, which may change when the evaluation is resumed. The machine is that of the last sitting, and the device the one in use. */
export interface About extends Machine {
  readonly ways: readonly string[];
  readonly margin: number;
  /** The number of tasks of each set that are evaluated. */
  readonly sets: Readonly<Record<string, number>>;
}

export interface AnswerLine {
  readonly set: string;
  readonly task: string;
  readonly way: string;
  readonly answer: string;
  readonly score: number;
  /** How its code ended; null if none was run. */
  readonly ending: string | null;
  readonly stop: StopReason;
  readonly tokens: number;
  readonly layers: number;
  readonly left: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

/** Time of each way for one task, written alone, after its prompt. */
export interface TimesLine extends Machine {
  readonly set: string;
  readonly task: string;
  readonly ways: Readonly<Record<string, Timed>>;
}

export interface Evaluation {
  readonly identity: Identity;
  readonly about: About;
  readonly answers: readonly AnswerLine[];
  readonly times: readonly TimesLine[];
}

export interface EvaluationRecord {
  /** Answers of earlier sittings. */
  readonly answers: readonly AnswerLine[];
  readonly times: readonly TimesLine[];
  readonly addAnswer: (line: AnswerLine) => void;
  readonly addTimes: (line: TimesLine) => void;
  /** Writes down the device in use, if it is another. */
  readonly setDevice: (device: string) => void;
  readonly close: () => void;
}

/** @throws UserError if the folder belongs to another evaluation, another process writes there, or it cannot be written. */
export function openRecord(folder: string, identity: Identity, about: About): EvaluationRecord {
  writing(folder, () => makeFolder(folder));
  const lock = lockOrRefuse(join(folder, 'lock'), (pid) =>
    userError('busy', `Process ${pid} evaluates into ${folder}.`, 'Wait for it, or give another folder with --out.'),
  );
  try {
    if (existsSync(join(folder, evaluationFile))) {
      const before = readEvaluation(folder);
      requireSame(folder, before.identity, identity);
      // Lines of earlier versions do not say where they were measured. `about`, which does, is written anew below.
      const times = before.times.map((line) => `${JSON.stringify(line)}\n`);
      writeFileAtomically(join(folder, timesFile), times);
    }
    const write = (now: About): void => {
      const text = JSON.stringify({ format: 1, identity, about: now }, null, 2);
      writeFileAtomically(join(folder, evaluationFile), [`${text}\n`]);
    };
    write(about);
    const answers = openLines(folder, answersFile, answerShape);
    const times = openLines(folder, timesFile, timesShape(about));
    let current = about;
    return {
      answers: answers.before,
      times: times.before,
      addAnswer: answers.add,
      addTimes: times.add,
      setDevice(device) {
        if (device === current.device) return;
        current = { ...current, device };
        write(current);
      },
      close() {
        answers.close();
        times.close();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Reads a folder, finished or not. @throws UserError if it is no evaluation, or damaged. */
export function readEvaluation(folder: string): Evaluation {
  const file = join(folder, evaluationFile);
  const { identity, about } = readMessage(file, fileShape, parsed(readText(file), file));
  const read = <Line>(name: string, shape: Shape<Line>): Line[] =>
    existsSync(join(folder, name)) ? wholeLines(folder, name, shape).lines : [];
  return { identity, about, answers: read(answersFile, answerShape), times: read(timesFile, timesShape(about)) };
}

function requireSame(folder: string, before: Identity, now: Identity): void {
  const names = {
    modelSha256: 'its model is another',
    tokenizerSha256: 'its tokenizer or its chat template is another',
    exitsSha256: 'its exits are others',
    tasks: 'its tasks are others',
    options: 'its tasks had other prompts',
  };
  // What an earlier version did not write cannot be compared.
  for (const [key, name] of Object.entries(names) as [keyof typeof names, string][])
    if (before[key] !== undefined && !isDeepStrictEqual(before[key], now[key]))
      throw userError(
        'bad-argument',
        `${folder} holds another evaluation: ${name}.`,
        'Give another folder with --out, or remove that one.',
      );
}

const answerShape = record<AnswerLine>({
  set: text,
  task: text,
  way: text,
  answer: text,
  score: number,
  ending: nullable(text),
  stop: oneOf(...stopReasons),
  tokens: count,
  layers: count,
  left: table(table(count)),
});
const timedShape = record<Omit<TimesLine, keyof Machine>, Machine>(
  { set: text, task: text, ways: table(record({ seconds: number, tokens: count })) },
  { processor: text, device: text, threads: count },
);
/** Lines of earlier versions do not say where they were measured: it was the given machine. */
const timesShape = ({ processor, device }: Machine): Shape<TimesLine> => ({
  read: (value, place) => ({ processor, device, ...timedShape.read(value, place) }),
});
const fileShape = record({
  identity: record<Omit<Identity, 'tokenizerSha256'>, Required<Pick<Identity, 'tokenizerSha256'>>>(
    {
      model: text,
      modelSha256: text,
      layers: count,
      exits: list(text),
      exitsSha256: nullable(text),
      tasks: table(record({ sha256: text, first: nullable(count) })),
      options: anyRecord,
    },
    { tokenizerSha256: text },
  ),
  about: record<Omit<About, 'threads'>, Required<Pick<About, 'threads'>>>(
    { ways: list(text), margin: number, sets: table(count), processor: text, device: text },
    { threads: count },
  ),
});

interface Lines<Line> {
  readonly before: readonly Line[];
  readonly add: (line: Line) => void;
  readonly close: () => void;
}

/** A line that was cut off, since its writer was killed, is taken away. */
function openLines<Line>(folder: string, name: string, shape: Shape<Line>): Lines<Line> {
  const path = join(folder, name);
  const { lines, bytes } = existsSync(path) ? wholeLines(folder, name, shape) : { lines: [], bytes: 0 };
  const descriptor = writing(path, () => openCut(path, bytes));
  return {
    before: lines,
    add: (line) => writing(path, () => writeWhole(descriptor, Buffer.from(`${JSON.stringify(line)}\n`))),
    close: () => closeSync(descriptor),
  };
}

/** The complete lines, and their size in bytes; a line after them was cut off. */
function wholeLines<Line>(folder: string, name: string, shape: Shape<Line>): { lines: Line[]; bytes: number } {
  const path = join(folder, name);
  const text = readText(path);
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  const lines = whole
    .split('\n')
    .slice(0, -1)
    .map((line, i) => {
      const place = `${path}:${i + 1}`;
      return readMessage(place, shape, parsed(line, place));
    });
  return { lines, bytes: Buffer.byteLength(whole) };
}

function parsed(text: string, place: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw userError('bad-data', `${place} is damaged: it is no JSON.`, 'Remove the folder, and evaluate again.', error);
  }
}
