/** Reads a text from left to right by patterns. Knows no grammar. */

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

/** How often a part comes; `most` null: however often. */
export interface Times {
  readonly least: number;
  readonly most: number | null;
}

/** Takes a sign of repetition, as GBNF and regular expressions write them; null if there is none. `blanks`: braces may have some. */
export function takeTimes({ take }: Scanner, blanks = false): Times | null {
  const sign = take(
    blanks ? /[*+?]|\{\s*\d{1,15}\s*(?:,\s*(?:\d{1,15}\s*)?)?\}/y : /[*+?]|\{\d{1,15}(?:,\d{0,15})?\}/y,
  );
  if (sign === null) return null;
  if (sign === '*') return { least: 0, most: null };
  if (sign === '+') return { least: 1, most: null };
  if (sign === '?') return { least: 0, most: 1 };
  const [least, most] = sign
    .slice(1, -1)
    .split(',')
    .map((each) => each.trim());
  return { least: Number(least), most: most === undefined ? Number(least) : most === '' ? null : Number(most) };
}
