/**
 * Escapes foreign texts (a model's tokens, names of exits) for Markdown that an editor renders, so that no link, image, HTML, table cell or
 * command can come from them. Knows no trace.
 */

import { shown } from '../../protocol/shown.ts';

/** A text as inline code in a cell of a table, whose borders are found before code is. */
export function codeInCell(text: string): string {
  // A backslash before a bar would be taken for the one that escapes it, and no backslash is escaped in code.
  return visible(text).includes('\\|') ? plain(text) : code(text).replaceAll('|', '\\|');
}

/** A text as inline code, outside of tables. */
export function code(text: string): string {
  const safe = visible(text);
  const ticks = '`'.repeat(Math.max(0, ...[...safe.matchAll(/`+/g)].map((match) => match[0].length)) + 1);
  const pad = safe.startsWith('`') || safe.endsWith('`') ? ' ' : '';
  return `${ticks}${pad}${safe}${pad}${ticks}`;
}

/** A name as ordinary text. In CommonMark a backslash makes any punctuation mark literal; `8:mlp` needs none. */
export const plain = (name: string): string =>
  /^\d+:[a-z]+$/.test(name) ? name : visible(name).replaceAll(/[!-/:-@[-`{-~]/g, '\\$&');

/** Blanks that would vanish are made visible, and so is what cannot be shown; an empty text gets a name. */
export const visible = (text: string): string =>
  text === ''
    ? '(nothing)'
    : shown(text.replaceAll('\r', '').replaceAll('\n', '⏎').replaceAll('\t', '→'), { limit: Infinity }).replaceAll(
        /^ +| +$/g,
        (blanks) => '·'.repeat(blanks.length),
      );
