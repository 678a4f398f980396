/** Which text before the cursor becomes the prompt, and where a completion ends. Pure; knows no `vscode`. */
import type { StopReason, TokenRecord } from '../protocol/trace.ts';

/** The window's start moves in steps of this share of it: in between, what was read before the cursor is not read again. */
const STEP_SHARE = 1 / 2;
/** A blank line is looked for within this share of the window, else any line. */
const SEARCH_SHARE = 1 / 8;

/**
 * Offset where a prompt of at most `limit` characters before `end` begins: at the start of a line, behind a blank one where
 * there is one near. It stays where it is while one types at the end, and jumps when the window is full.
 */
export function windowStart(text: string, end: number, limit: number): number {
  if (end <= limit) return 0;
  const step = Math.ceil(limit * STEP_SHARE);
  const anchor = Math.ceil((end - limit) / step) * step;
  const near = text.slice(anchor, Math.min(end, anchor + Math.ceil(limit * SEARCH_SHARE)));
  const blank = /\n[ \t]*\r?\n/.exec(near);
  if (blank) return anchor + blank.index + blank[0].length;
  const line = near.indexOf('\n');
  return line < 0 ? anchor : anchor + line + 1;
}

/**
 * The tokens of a completion that are shown: one that was cut off by its length ends with its last whole line or, within its
 * first line, its last whole word. Blanks at the end are left out.
 */
export function completionTokens(tokens: readonly TokenRecord[], stop: StopReason): TokenRecord[] {
  const whole = stop === 'length' ? wholePart(tokens) : tokens;
  const end = whole.findLastIndex(({ text }) => text.trim() !== '');
  return whole.slice(0, end + 1).map((token, i) => (i === end ? { ...token, text: token.text.trimEnd() } : token));
}

function wholePart(tokens: readonly TokenRecord[]): readonly TokenRecord[] {
  const last = tokens.findLastIndex(({ text }) => text.includes('\n'));
  const lines = tokens.slice(0, last + 1).map((token, i) => (i === last ? beforeLastLine(token) : token));
  if (lines.some(({ text }) => text.trim() !== '')) return lines;
  const word = tokens.findLastIndex(
    ({ text }, i) => /\W$/.test(text) || (i + 1 < tokens.length && /^\W/.test(tokens[i + 1]!.text)),
  );
  return word < 0 ? tokens : tokens.slice(0, word + 1);
}

const beforeLastLine = (token: TokenRecord): TokenRecord => ({
  ...token,
  text: token.text.slice(0, token.text.lastIndexOf('\n')),
});
