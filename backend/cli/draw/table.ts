/** Aligned tables and numbers as people read them. Widths are counted without colour. */
import { stripVTControlCharacters } from 'node:util';

export type Align = 'left' | 'right';

/** Rows as lines, two spaces between columns; by default the first column is aligned left, the others right. */
export function table(rows: readonly (readonly string[])[], aligns: readonly Align[] = []): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, j) => (widths[j] = Math.max(widths[j] ?? 0, textWidth(cell))));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, j) => {
        const padding = ' '.repeat(widths[j]! - textWidth(cell));
        return (aligns[j] ?? (j === 0 ? 'left' : 'right')) === 'left' ? cell + padding : padding + cell;
      })
      .join('  ')
      .trimEnd();
  return rows.map((row) => `${line(row)}\n`).join('');
}

/** Columns of a terminal that a text takes, without its colours. */
export const textWidth = (text: string): number =>
  [...stripVTControlCharacters(text)].reduce((width, character) => width + columnsOf(character), 0);

/** As a terminal draws them: accents on the letter before them, East Asian letters and pictures two columns wide. */
export const columnsOf = (character: string): number =>
  accents.test(character) ? 0 : wideCharacters.test(character) ? 2 : 1;

const accents = /^[\p{Mn}\p{Me}\u200b-\u200d\ufe0f]$/u;
const wideCharacters =
  /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\u3000-\u303e\uff01-\uff60\uffe0-\uffe6]$/u;

/** 12,345 */
export const count = (value: number): string => Math.round(value).toLocaleString('en-GB');

/** 34.5 % */
export const percent = (share: number, digits = 1): string => `${(100 * share).toFixed(digits)} %`;

/** Three figures: 0.00123, 1.23, 12.3, 1,234. */
export function figures(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size >= 1000) return count(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return size >= 0.01 || size === 0 ? value.toFixed(2) : value.toPrecision(2);
}

/** 0.4 s, 12 s, 3:05 min, 1:02 h. */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (value: number): string => String(value).padStart(2, '0');
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}:${two(whole % 60)} min`;
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)} h`;
}
