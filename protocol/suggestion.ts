/**
 * Where a suggestion ends: before it repeats the text after the cursor, and, if it was cut off, at the end of a line or word. Pure; used by
 * the side that writes (which stops there) and by the side that shows.
 */
import { bracketReader } from './brackets.ts';
import type { StopReason, TokenRecord } from './trace.ts';

/** The text around the cursor. Lines end with \n. */
export interface Around {
  readonly prefix: string;
  readonly suffix: string;
}

/**
 * Number of characters of `text` that are new between prefix and suffix, without blanks at the end. The new part ends before it repeats the
 * rest of the cursor's line, and before a line that equals the next one below.
 */
export function newLength(text: string, { prefix, suffix }: Around): number {
  const linePrefix = prefix.slice(prefix.lastIndexOf('\n') + 1);
  const [rest = '', ...below] = suffix.split('\n', linesLooked);
  const next = below.find((line) => line.trim() !== '')?.trimEnd();
  const kept: string[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    const before = i === 0 ? linePrefix : '';
    const whole = (before + line).trimEnd();
    if (whole.trim() !== '' && whole === next && (i > 0 || rest.trim() === '')) break;
    const length = withoutRest(before, line, rest.trimEnd());
    kept.push(line.slice(0, length));
    if (length < line.length) break;
  }
  return kept.join('\n').trimEnd().length;
}

/** Lines of a suffix that are looked at. */
const linesLooked = 16;

/** Length of a line without the rest of the cursor's line, if the line ends with that and its brackets do not need it twice. */
function withoutRest(linePrefix: string, line: string, rest: string): number {
  const trimmed = line.trimEnd();
  if (rest.trim() === '' || !trimmed.endsWith(rest)) return line.length;
  const cut = trimmed.slice(0, trimmed.length - rest.length);
  const open = (text: string): number => Math.abs(depth(linePrefix + text + rest));
  return /\w/.test(rest) || open(cut) <= open(trimmed) ? cut.length : line.length;
}

/** Brackets opened and not closed. */
const depth = (text: string): number =>
  [...text].reduce((sum, sign) => sum + ('([{'.includes(sign) ? 1 : ')]}'.includes(sign) ? -1 : 0), 0);

/** The tokens of the first `length` characters; the last one may be cut. */
export function firstCharacters(tokens: readonly TokenRecord[], length: number): TokenRecord[] {
  const kept: TokenRecord[] = [];
  let left = length;
  for (const token of tokens) {
    if (left <= 0) break;
    kept.push(token.text.length > left ? { ...token, text: token.text.slice(0, left) } : token);
    left -= token.text.length;
  }
  return kept;
}

/** The tokens behind the first `length` characters; the first one may be cut. */
export function behindCharacters(tokens: readonly TokenRecord[], length: number): TokenRecord[] {
  const kept: TokenRecord[] = [];
  let left = length;
  for (const token of tokens) {
    const text = token.text.slice(Math.max(0, left));
    left -= token.text.length;
    if (text !== '') kept.push({ ...token, text });
  }
  return kept;
}

export const textOfTokens = (tokens: readonly TokenRecord[]): string => tokens.map(({ text }) => text).join('');

/**
 * The tokens of a suggestion that are shown. A suggestion that was cut off by its length or the clock ends with its last whole line or,
 * within its first line, with its last whole word, and never inside an expression. It also ends before it repeats text.
 */
export function shownTokens(tokens: readonly TokenRecord[], stop: StopReason, around: Around): TokenRecord[] {
  const isCutOff = stop === 'length' || stop === 'cancelled' || stop === 'context-full';
  const text = textOfTokens(tokens);
  const whole = isCutOff ? text.slice(0, wholeLength(text)) : text;
  return firstCharacters(tokens, newLength(whole, around));
}

/** Signs after which an expression continues; a bracket of a block or a colon may end a line. */
const unfinished = /[-+*/%=<>!~^&|?:,.([{\\@]$/;
/** A choice between two values that lacks the second: `a ? b`. */
const lacksChoice = (text: string): boolean =>
  (text.match(/\s\?(?=\s)/g)?.length ?? 0) > (text.match(/\s:(?=\s)/g)?.length ?? 0);
const endsLine = /([^-+*/%=<>!~^&|?,.([\\@]|\+\+|--)$/;

/** Characters of a text that was cut off which are no half of an expression: its last such line, else the last such word of the first. */
function wholeLength(text: string): number {
  const reader = bracketReader();
  let lines = 0;
  let words = 0;
  for (let at = 0; at < text.length; at++) {
    const sign = text[at]!;
    const before = text.slice(0, at).trimEnd();
    const isOpen = reader.open.some((bracket) => bracket !== '{') || (reader.isQuoted && !reader.isComment);
    if (!isOpen && before !== '') {
      const isChosen = reader.isComment || !lacksChoice(text.slice(lines, at));
      if (sign === '\n' && (reader.isComment || endsLine.test(before)) && isChosen) lines = at;
      const isBetween = !(/\w/.test(sign) && /\w/.test(text[at - 1]!));
      const isPart = reader.isComment || (!unfinished.test(before) && !reader.open.includes('{'));
      if (isBetween && isPart && isChosen && !before.includes('\n')) words = before.length;
    }
    reader.push(sign);
  }
  if (lines > 0) return lines;
  const isOver =
    /[^\w\s]$/.test(text) &&
    reader.open.length === 0 &&
    !reader.isQuoted &&
    !unfinished.test(text) &&
    !lacksChoice(text);
  if (isOver || /^\s*\w+$/.test(text)) return text.length;
  return words;
}

/** Whether a line that is not blank is complete. */
export const hasWholeLine = (text: string): boolean => text.slice(0, text.lastIndexOf('\n') + 1).trim() !== '';

/** Whether there is something to show if the text is cut off here. */
export const hasWholePart = (text: string): boolean => !/^\s*\w*$/.test(text) && wholeLength(text) > 0;
