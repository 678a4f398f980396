/** Reads a text from left to right by patterns. Knows no grammar. */
import { repeat, type Expression } from './expression.ts';

export interface Scanner {
  /** Takes what a sticky pattern matches here; null if it does not match. */
  readonly take: (pattern: RegExp) => string | null;
  /** The next `length` UTF-16 units, which are not taken; fewer at the end. */
  readonly peek: (length: number) => string;
  readonly isAtEnd: () => boolean;
  /** Number of the current line, from 1. */
  readonly line: () => number;
}

export function newScanner(text: string): Scanner {
  let at = 0;
  return {
    take(pattern) {
      pattern.lastIndex = at;
      const found = pattern.exec(text)?.[0] ?? null;
      if (found !== null) at += found.length;
      return found;
    },
    peek: (length) => text.slice(at, at + length),
    isAtEnd: () => at >= text.length,
    line: () => text.slice(0, at).split('\n').length,
  };
}

/** Takes a sign of repetition, as GBNF and regular expressions write them, and repeats the part before it. `then`: taken after a sign. */
export function repeated({ take }: Scanner, part: Expression, then = /(?:)/y): Expression {
  const sign = take(/[*+?]|\{\d{1,6}(?:,\d{0,6})?\}/y);
  if (sign === null) return part;
  take(then);
  if (sign === '*') return repeat(part, 0, null);
  if (sign === '+') return repeat(part, 1, null);
  if (sign === '?') return repeat(part, 0, 1);
  const [least = '', most] = sign.slice(1, -1).split(',');
  return repeat(part, Number(least), most === undefined ? Number(least) : most === '' ? null : Number(most));
}
