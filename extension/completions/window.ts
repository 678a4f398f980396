/** Which lines around a cursor are looked at, and how much of long ones. Pure; knows no `vscode`. */

/** Tokens of a line of code, about. */
const tokensPerLine = 8;

/**
 * Lines from `first` to `last` (both included) that fill the budgets of tokens before and after a line. The first one moves in steps, so
 * that it stays while the user types.
 */
export function fullLines(
  line: number,
  lineCount: number,
  prefixTokens: number,
  suffixTokens: number,
): { first: number; last: number } {
  const before = Math.ceil(prefixTokens / tokensPerLine);
  const step = Math.ceil(before / 2);
  const first = Math.floor(Math.max(0, line - before) / step) * step;
  return { first, last: Math.min(lineCount - 1, line + Math.ceil(suffixTokens / tokensPerLine)) };
}

/** A longer text has more tokens than its budget, for sure; the rest of the cursor's line counts even without a budget. */
const charactersOf = (tokens: number): number => Math.max(1_000, 16 * tokens);

/** The end of a text before a cursor; the cut moves in steps, so that it stays while the user types. */
export function lastCharacters(text: string, tokens: number): string {
  const most = charactersOf(tokens);
  const step = most / 4;
  return text.slice(Math.ceil(Math.max(0, text.length - most) / step) * step);
}

/** The beginning of a text after a cursor. */
export const firstCharacters = (text: string, tokens: number): string => text.slice(0, charactersOf(tokens));
