/** Which lines around a cursor are looked at. Pure; knows no `vscode`. */

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
