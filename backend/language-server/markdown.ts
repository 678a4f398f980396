/**
 * Foreign texts inside Markdown that an editor renders: tokens of a model and names of exits stay texts. No link, image, HTML or table
 * cell comes of them, and no command. Knows no trace.
 */

/** A text as inline code, safe inside a table. */
export function code(text: string): string {
  const shown = visible(text).replaceAll('|', '\\|');
  const ticks = '`'.repeat(Math.max(0, ...[...shown.matchAll(/`+/g)].map((match) => match[0].length)) + 1);
  const pad = shown.startsWith('`') || shown.endsWith('`') ? ' ' : '';
  return `${ticks}${pad}${shown}${pad}${ticks}`;
}

/** A name as ordinary text. CommonMark takes every punctuation mark behind a backslash for itself; `8:mlp` needs none. */
export const plain = (name: string): string =>
  /^\d+:[a-z]+$/.test(name) ? name : visible(name).replaceAll(/[!-/:-@[-`{-~]/g, '\\$&');

/** Blanks that would vanish are made visible, and so are control characters; an empty text gets a name. */
export const visible = (text: string): string =>
  text === ''
    ? '(nothing)'
    : text
        .replaceAll('\r', '')
        .replaceAll('\n', '⏎')
        .replaceAll('\t', '→')
        .replaceAll(/[\0-\x1f]/g, (control) => String.fromCodePoint(0x2400 + control.codePointAt(0)!))
        .replaceAll('\x7f', '␡')
        .replaceAll(/^ +| +$/g, (blanks) => '·'.repeat(blanks.length));
