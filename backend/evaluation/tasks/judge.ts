/** Whether an answer is right, by each form of task. Pure but for code, which a sandbox runs. */
import type { Ending, Language, Sandbox } from './sandbox.ts';
import { letterOf, type Task, type TextMetric } from './task.ts';

export interface Judgement {
  /** From 0 to 1; 1 is right. */
  readonly score: number;
  /** How its code ended; null if none was run. */
  readonly ending: Ending | null;
}

/** Judges one answer; a program is run once, however many ways of decoding wrote it. */
export type Judge = (task: Task, answer: string) => Promise<Judgement>;

/** `sandbox`: null if no task runs code. */
export function openJudge(sandbox: Sandbox | null): Judge {
  const known = new Map<string, Promise<Ending>>();
  const passes = (program: string, language: Language): Promise<Ending> => {
    const found = known.get(program) ?? sandbox!.run(program, language);
    known.set(program, found);
    return found;
  };
  return async (task, answer) => {
    const program = programOf(task, answer);
    if (program === null) return { score: scoreOf(task, answer), ending: null };
    // A blank answer is wrong, even if the tests would pass.
    if (answer.trim() === '') return { score: 0, ending: 'failed' };
    const ending = await passes(program.text, program.language);
    return { score: ending === 'passed' ? 1 : 0, ending };
  };
}

/** The code that is run to judge an answer; null if none is. */
export function programOf(task: Task, answer: string): { readonly text: string; readonly language: Language } | null {
  if (task.form === 'code') return { text: `${wholeCode(task, answer)}\n${task.tests}`, language: task.language };
  if (task.form !== 'fill' || task.tests === null) return null;
  const ended = task.isLine && !task.goesOn && !answer.endsWith('\n') ? `${answer}\n` : answer;
  return { text: `${task.prefix}${ended}${task.suffix}\n${task.tests}`, language: task.language };
}

/** An answer in a chat is a block of code, which repeats the prompt's last function, and perhaps what is before it, or continues from it. */
function wholeCode({ prompt, language }: Extract<Task, { form: 'code' }>, answer: string): string {
  const [, block] = fence.exec(answer) ?? [];
  if (block === undefined) return prompt + answer;
  const named = declarationsIn(prompt);
  const [last] = named.slice(-1);
  const declared = new Set(declarationsIn(block).map(({ name }) => name));
  if (last === undefined || !declared.has(last.name)) return prompt + block;
  // JavaScript refuses a constant that is declared twice, so a block that repeats another name is taken to repeat all of the prompt.
  const repeatsAll = language === 'javascript' && named.some((each) => each !== last && declared.has(each.name));
  return repeatsAll ? block : prompt.slice(0, last.index) + block;
}

/** A block of code. Behind other words its fence has one word at most: what follows the end of inline code is no fence. */
const fence = /(?:(?:^|\n)[ \t]*```[^\n`]*|```[\w+-]*)\r?\n([^]*?)(?:```|$)/;

/** What begins a line with a name, or with names in braces or brackets, with the decorators before it. */
const declarations = /^(?:@.*\n)*(?:export )?(?:async )?(?:def|function\*?|class|const|let|var)\s+([\w$]+|[{[][^=]*)/gm;

/** Names in braces or brackets are one name, however they are laid out. */
const declarationsIn = (code: string): { readonly name: string; readonly index: number }[] =>
  [...code.matchAll(declarations)].map(({ 1: name, index }) => ({
    name: name!.replaceAll(/\s|,(?=\s*[\]}])/g, ''),
    index,
  }));

/** Of a form that runs no code. */
export function scoreOf(task: Task, answer: string): number {
  switch (task.form) {
    case 'number':
      return lastNumber(answer) === task.answer ? 1 : 0;
    case 'text':
      return Math.max(...task.references.map((reference) => metrics[task.metric](...comparable(answer, reference))));
    case 'choice':
      return letterIn(answer, task.choices.length) === letterOf(task.answer) ? 1 : 0;
    case 'fill':
      return task.line !== null && answer.trim() !== '' && answer.trim() === task.line.trim() ? 1 : 0;
    case 'code':
      return 0;
  }
}

/** 1,234.5 and .5 are one number each; a full stop at a sentence's end is none of it, nor is the hyphen of a range its sign. */
export function lastNumber(text: string): number | null {
  const found = text.match(/(?<![\d.])-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)|\d[\d,]*(?:\.\d+)?/g)?.at(-1);
  return found === undefined ? null : Number(found.replaceAll(',', ''));
}

/** The first letter of a choice that is a word of its own; null if there is none. */
export function letterIn(text: string, choices: number): string | null {
  const last = letterOf(choices - 1);
  return new RegExp(`(?:^|[^\\p{L}\\p{N}])([A-${last}])(?![\\p{L}\\p{N}])`, 'u').exec(text)?.[1] ?? null;
}

type Words = readonly string[];

const asWritten = (text: string): string[] =>
  text
    .toLowerCase()
    .normalize('NFC')
    .split(/\s+/)
    .filter((word) => word !== '');
/** Marks belong to the letter before them, as vowels of Devanagari do; those of a sign go with it. */
const withoutSigns = (text: string): string[] =>
  asWritten(text.toLowerCase().replace(/[^\p{L}\p{N}\p{M}\s]\p{M}*/gu, ' '));
const withoutArticles = (text: string): string[] =>
  withoutSigns(text).filter((word) => !['a', 'an', 'the'].includes(word));

/** As SQuAD's: case, articles and punctuation do not count, unless the reference is nothing else, such as `A` or `!=`. */
function comparable(answer: string, reference: string): [answer: Words, reference: Words] {
  const split = [withoutArticles, withoutSigns].find((each) => each(reference).length > 0) ?? asWritten;
  return [split(answer), split(reference)];
}

const metrics: Readonly<Record<TextMetric, (answer: Words, reference: Words) => number>> = {
  exact: (answer, reference) => (answer.join(' ') === reference.join(' ') && answer.length > 0 ? 1 : 0),
  contains: (answer, reference) =>
    reference.length > 0 && ` ${answer.join(' ')} `.includes(` ${reference.join(' ')} `) ? 1 : 0,
  f1: (answer, reference) => harmonic(common(answer, reference), answer, reference),
  // Lin 2004: the longest common subsequence, precision and recall of equal weight.
  'rouge-l': (answer, reference) => harmonic(longestCommon(answer, reference), answer, reference),
};

/** 2PR ÷ (P + R), of the words in common. */
const harmonic = (shared: number, answer: Words, reference: Words): number =>
  answer.length + reference.length === 0 ? 0 : (2 * shared) / (answer.length + reference.length);

/** Words in common, each as often as both have it. */
function common(left: Words, right: Words): number {
  const counts = new Map<string, number>();
  for (const word of left) counts.set(word, (counts.get(word) ?? 0) + 1);
  let shared = 0;
  for (const word of right) {
    const left = counts.get(word) ?? 0;
    if (left > 0) shared++;
    counts.set(word, left - 1);
  }
  return shared;
}

function longestCommon(left: Words, right: Words): number {
  let row = new Array<number>(right.length + 1).fill(0);
  for (const word of left) {
    const next = [0];
    for (const [j, other] of right.entries()) next.push(word === other ? row[j]! + 1 : Math.max(row[j + 1]!, next[j]!));
    row = next;
  }
  return row.at(-1)!;
}
