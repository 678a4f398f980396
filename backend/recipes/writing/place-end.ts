/**
 * Where a text that is written at a cursor ends: with the block or statement that it began, or before it repeats the text after the cursor.
 * Reads lines, indents and brackets, and knows no language. Pure.
 */
import { bracketReader, readBrackets } from '../../../protocol/brackets.ts';
import { newLength, type Around } from '../../../protocol/suggestion.ts';
import type { StopReason } from '../../../protocol/trace.ts';
import type { TextEnd } from '../../decoding/text.ts';

/** What is written: the rest of a statement, one member or whole function, or what is left of the block around. */
type Unit = 'statement' | 'construct' | 'block';

/** Lines that go on with the line before. */
const continuing = /^\s*([.?:&|+*%=<>,)\]}]|(else|elif|catch|except|finally|while|and|or)\b)/;
/** Lines that continue on the next one. */
const unfinished = /([-([{,.?:&|+*/%=<>\\]|\b(and|or|in|of|return|new|await|typeof))\s*$/;
/** Of a line behind which a block is indented without brackets. */
const opensIndent = /:\s*(#.*)?$/;
const isComment = (line: string): boolean => /^\s*(\/\/|#|\*|\/\*|--|<!--|"""|''')/.test(line);
/** Blocks whose members are independent of each other. */
const hasMembers = /\b(class|interface|struct|impl|enum|trait|namespace|module)\b/;

/** Tokens behind the limit in which a line may be written to its end. */
export const lineTokens = 48;

/** What decides, of the text around the cursor, where the generated text ends. */
interface Place {
  /** The cursor's line up to the cursor. */
  readonly line: string;
  /** Brackets before the cursor that nothing behind it closes. */
  readonly missing: number;
  /** The first line below that is not blank. */
  readonly next: string | undefined;
  /** What is written at the cursor. */
  readonly unit: Unit;
  /** What is written instead, if the cursor's line turns out to be finished. */
  readonly beyond: Unit;
}

function placeOf({ prefix, suffix }: Around): Place {
  const lines = prefix.split('\n');
  const line = lines.at(-1)!;
  const outside = readBrackets(prefix);
  const missing = outside.isQuoted ? 0 : Math.max(0, outside.open.length - readBrackets(suffix).closers);
  const next = suffix
    .split('\n')
    .slice(1)
    .find((each) => each.trim() !== '')
    ?.trimEnd();
  const opener = openerLine(lines);
  const isTop = opener === null && indentOf(line) === 0;
  const inMembers = opener !== null && hasMembers.test(opener);
  const beyond: Unit = isTop || inMembers ? 'construct' : 'block';
  return { line, missing, next, unit: line.trim() === '' || isComment(line) ? beyond : 'statement', beyond };
}

/** The brackets of what is written. */
interface Brackets {
  /** How many are open; those of the cursor's line count, too, if its statement goes on. */
  readonly depth: number;
  /** Whether one has been closed that the text before the cursor opened. */
  readonly hasClosedOuter: boolean;
  /** Whether another of those may be closed: nothing behind the cursor closes it. */
  readonly mayCloseOuter: boolean;
  readonly isQuoted: boolean;
  /** Whether one is open that is no block's, so that a statement goes on. */
  readonly isInStatement: boolean;
  /** Reads a sign; false if it closes a bracket that the text after the cursor closes. */
  push(sign: string): boolean;
}

/** `depth`: how many are open at the cursor; `missing`: how many of those before it nothing behind it closes. */
function writtenBrackets(depth: number, missing: number): Brackets {
  const reader = bracketReader();
  let hasClosedOuter = false;
  return {
    get depth() {
      return depth;
    },
    get hasClosedOuter() {
      return hasClosedOuter;
    },
    get mayCloseOuter() {
      return missing > 0;
    },
    get isQuoted() {
      return reader.isQuoted;
    },
    get isInStatement() {
      return reader.open.some((sign) => sign !== '{');
    },
    push(sign) {
      const before = reader.open.length;
      const { closes } = reader.push(sign);
      depth += reader.open.length - before;
      if (!closes) return true;
      if (missing === 0) return false;
      missing--;
      hasClosedOuter = true;
      depth = Math.max(0, depth - 1);
      return true;
    },
  };
}

/** `holdsBlanks`: blanks are shown only together with the text after them, so that shown text never ends in blanks. */
export function placeEnd(around: Around, maxTokens: number, holdsBlanks = true): TextEnd {
  const { line: cursorLine, next, beyond, ...place } = placeOf(around);
  let { unit } = place;
  const depthAtCursor = unit === 'statement' ? readBrackets(cursorLine).open.length : 0;
  const brackets = writtenBrackets(depthAtCursor, place.missing);
  let text = '';
  let line = cursorLine;
  let lineStart = 0;
  let count = 0;
  let base: number | null = unit === 'statement' || !isBlank(cursorLine) ? indentOf(cursorLine) : null;
  /** A block of more than one line was begun at the base, by a bracket or an indent. */
  let isDeep = false;
  /** The cursor's line is complete: the next line decides whether the statement continues. */
  let isLineLeft = false;
  let isIndented = unit === 'statement' && opensIndent.test(cursorLine);
  /** Number of characters at which the text is over, unless the next line continues it. */
  let over: number | null = null;
  let ended: { safe: number; reason: StopReason } | null = null;

  const end = (at: number, reason: StopReason): void =>
    void (ended ??= {
      safe: Math.min(text.slice(0, at).trimEnd().length, newLength(text.slice(0, at), around)),
      reason,
    });

  /** A line has ended at `at`. */
  const lineEnded = (at: number): void => {
    const isFirst = lineStart === 0;
    const written = text.slice(lineStart, at);
    if (whole(line) === next && (isFirst ? /^\s*$/.test(cursorLine) : true) && line.trim() !== '')
      return end(lineStart, 'block-end');
    if (newLength(text.slice(0, at), around) < text.slice(0, at).trimEnd().length) return end(at, 'block-end');
    if (isFirst && isBlank(written)) isLineLeft = brackets.depth <= 0 && !isIndented && !unfinished.test(cursorLine);
    if (isLineLeft) return;
    if (count >= maxTokens && !brackets.isInStatement) return end(at, 'length');
    if (brackets.hasClosedOuter && brackets.depth <= 0) return end(at, 'block-end');
    if (brackets.depth > 0 || brackets.isQuoted) {
      isDeep = true;
      return;
    }
    if (isBlank(line)) {
      // A blank line ends a statement that is complete; within an indent the next line decides.
      if (over === null && unit === 'construct' && !isIndented && text.trim() !== '') over = at;
      return;
    }
    if (opensIndent.test(line) && !isComment(line)) isIndented = true;
    if (isIndented || unfinished.test(line) || isComment(line)) return;
    if (unit === 'statement') over = at;
    else if (unit === 'construct' && isDeep && /^\s*[)\]}]/.test(line)) over = at;
  };

  /** The first sign of a line that is not blank has come. */
  const lineBegan = (): void => {
    const indent = indentOf(line);
    base ??= indent;
    if (isLineLeft && !isBlank(line) && unit === 'statement' && !continuing.test(`${line} `)) unit = beyond;
    isLineLeft = false;
    const closes = /^\s*[)\]}]/.test(line);
    if (over !== null) {
      const isDone = !continuing.test(`${line} `) || (closes && !brackets.mayCloseOuter);
      if (isDone) return end(over, 'block-end');
      over = null;
    }
    if (lineStart === 0 || brackets.depth > 0 || closes) return;
    if (indent > base) isDeep = true;
    else if (isIndented && indent <= base && !continuing.test(`${line} `)) end(lineStart, 'block-end');
    else if (indent < base) end(lineStart, 'block-end');
  };

  const push = (sign: string): void => {
    const at = text.length;
    text += sign;
    if (sign === '\n') {
      brackets.push(sign);
      lineEnded(at);
      lineStart = text.length;
      line = '';
      return;
    }
    line += sign;
    const isFirstSign = sign.trim() !== '' && line.trim() === sign;
    if (isFirstSign && lineStart > 0) lineBegan();
    if (ended) return;
    if (isFirstSign && lineStart === 0) base ??= indentOf(line);
    if (!brackets.push(sign)) end(at, 'block-end');
  };

  return {
    push(piece) {
      count++;
      for (const sign of piece) {
        if (ended) break;
        push(sign);
      }
      if (ended) return ended;
      if (count >= maxTokens && line.trim() === '' && text.trim() !== '' && !brackets.isInStatement) {
        end(text.length, 'length');
        return ended!;
      }
      const written = holdsBlanks ? text.trimEnd().length : text.length;
      const mayBeNext = next !== undefined && line.trim() !== '' && next.startsWith(line.trimEnd());
      const shownLength = mayBeNext ? text.slice(0, lineStart).trimEnd().length : written;
      return { safe: Math.min(shownLength, over ?? Infinity), reason: null };
    },
    settled: () => Math.min(text.trimEnd().length, newLength(text, around)),
  };
}

const isBlank = (line: string): boolean => line.trim() === '';
const whole = (line: string): string => line.trimEnd();

/** Columns of blanks that a line begins with; a tab counts as four. */
function indentOf(line: string): number {
  const blanks = /^[ \t]*/.exec(line)![0];
  return [...blanks].reduce((sum, blank) => sum + (blank === '\t' ? 4 : 1), 0);
}

/** The line that opens the block around the last one: by a bracket that is open there, else by its indent; null at the top. */
function openerLine(lines: readonly string[]): string | null {
  const reader = bracketReader();
  const openers: string[] = [];
  for (const [i, each] of lines.entries()) {
    for (const sign of i < lines.length - 1 ? `${each}\n` : each) {
      reader.push(sign);
      while (openers.length < reader.open.length) openers.push(each);
      openers.length = reader.open.length;
    }
  }
  const own = lines.at(-1)!;
  const byBracket = openers.findLast((line) => line !== own);
  if (byBracket !== undefined) return byBracket;
  const indent = indentOf(own);
  return indent === 0 ? null : (lines.findLast((line) => !isBlank(line) && indentOf(line) < indent) ?? null);
}
