/** Which text before the cursor becomes the prompt. Pure; knows no `vscode`. */
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
