/** What every attempt must keep, whatever is done to the program: an orderly end, a sentence, bounds. */
import { readdirSync } from 'node:fs';
import { shown } from '../../protocol/shown.ts';
import type { Ended } from './program.ts';
import { failed, held, type Verdict } from './trial.ts';

/** More than any command of a trial needs. */
const mostBytes = 1.5 * 2 ** 30;
/** Longer than any sentence with its way out, a path in it included. */
const longestSentence = 2400;

const orderly = [0, 1, 2, 130];

/** Words of the machinery, which a person can do nothing with. */
const internals = [
  /Cannot (read|set) propert(y|ies) of/,
  /Cannot (convert|destructure|mix)/,
  // A template's own fault reads "is not a function: got …".
  /is not (a function(?!: got)|iterable|a constructor|defined)/,
  /Invalid (typed )?array length/,
  /Array buffer allocation failed/,
  /Maximum call stack/,
  /Invalid string length/,
  /Class constructor/,
  /(offset|length|The value of ".*") (is )?(out of range|out of bounds)/i,
  /(start offset|byte length) of \w+Array should be/,
  /\[object Object\]/,
  /ERR_[A-Z_]{4,}/,
  /^\s+at .*[:(]/m,
  /Napi::Error|core dumped|terminate called/,
  // Zero-width and bidirectional controls do as much harm as escapes.
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/,
];

/** What is wrong with a message for a person, or null. */
export function problemOf(message: string): string | null {
  const found = internals.find((pattern) => pattern.test(message));
  if (found) return `the message holds internals (${found.source}): ${JSON.stringify(message.slice(0, 600))}`;
  if (message.trim() === '') return 'the message is empty';
  return message.length > longestSentence ? `the message has ${message.length} characters` : null;
}

/** The same of a message that a terminal or an editor has yet to show, which is where control characters are taken care of. */
export const problemOfUnshown = (message: string): string | null => problemOf(shown(message));

/** Judges how a program ended. `codes` are those that this attempt may end with. */
export function judge(ended: Ended, codes: readonly number[] = orderly): Verdict {
  const tail = JSON.stringify(ended.err.slice(-600));
  if (ended.late) return failed(`it had not ended after ${ended.seconds.toFixed(0)} s: ${tail}`);
  if (ended.signal) return failed(`it ended by ${ended.signal}: ${tail}`);
  if (!codes.includes(ended.code!))
    return failed(`it ended with code ${ended.code}, not ${codes.join(' or ')}: ${tail}`);
  if (ended.orphans) return failed(`it left ${ended.orphans} processes behind`);
  if (ended.peak > mostBytes) return failed(`it took ${(ended.peak / 2 ** 20).toFixed(0)} MB`);
  const errors = ended.err.split('\n').filter((line) => line.startsWith('error '));
  if ([1, 2].includes(ended.code!) && errors.length !== 1) return failed(`it says ${errors.length} errors: ${tail}`);
  const problem = errors.map(problemOf).find((one) => one !== null) ?? stackIn(ended.err);
  return problem ? failed(problem) : held;
}

const stackIn = (text: string): string | null =>
  /^\s+at .*[:(]/m.test(text) ? `it shows a stack: ${JSON.stringify(text.slice(-600))}` : null;

/** Half-written files and locks without an owner. Below `folder`, names only. */
export const leftovers = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => /\.(tmp|lock)$|\.tmp\b/.test(name));

/** The first verdict that has not held, else `held`. */
export const worst = (verdicts: readonly Verdict[]): Verdict =>
  verdicts.find(({ verdict }) => verdict === 'failed') ?? verdicts.find(({ verdict }) => verdict === 'skipped') ?? held;
