/** A text that repeats itself: the same line three times, the same few lines in turn, or the same words within a line. Pure. */
import type { TextEnd } from './text.ts';

/** Lines of a group that is looked for as a repetition, at most. */
const mostLines = 8;
const times = 3;
/** Groups of a repetition that are shown: of lines in turn two, since text that is held back for longer would come in jerks. */
const shownGroups = (size: number): number => (size === 1 ? 1 : 2);

/** Whether a line has words: closing brackets and the like repeat as often as they are needed. */
const hasWords = (line: string): boolean => /[\p{L}\p{N}]{2}/u.test(line);

interface Line {
  readonly text: string;
  /** End of the line, in characters of the whole text. */
  readonly end: number;
}

/** Blank lines in a row. */
const mostBlank = 4;
/** Within a line: the number of repetitions of words, and the least number of characters of all of them together. */
const timesInLine = 5;
const charactersInLine = 60;
const longestWords = 80;

/** Ends a text at the third of three repetitions; what may become one is held back, from `shownGroups` on. `before`: the text before the cursor on its line. */
export function repetitionEnd(before = ''): TextEnd {
  const lines: Line[] = [];
  let text = '';
  let start = 0;
  let blank = 0;

  /** Whether the last lines are `groups` equal groups of `size`. */
  const repeats = (size: number, groups: number): boolean => {
    const last = lines.slice(-size * groups);
    return (
      last.length === size * groups &&
      last.slice(0, size).some((line) => hasWords(line.text)) &&
      last.every((line, i) => line.text === last[i % size]!.text)
    );
  };
  const sizes = Array.from({ length: mostLines }, (_, i) => i + 1);

  /** Beginning of what is not shown of lines that may become a repetition; null if none can. */
  const heldBackFrom = (): number | null => {
    const rest = (start === 0 ? before : '') + text.slice(start);
    let from: number | null = null;
    for (const size of sizes) {
      const shown = size * shownGroups(size);
      for (let begun = 0; begun < size * times - shown; begun++) {
        const end = lines.length - begun;
        if (end < shown) break;
        const before = lines.slice(end - shown, end);
        const group = before.slice(0, size);
        if (!group.some((line) => hasWords(line.text))) continue;
        const isLike = (some: readonly Line[]): boolean => some.every((line, i) => line.text === group[i % size]!.text);
        if (!isLike(before) || !isLike(lines.slice(end))) continue;
        if (group[begun % size]!.text.startsWith(rest)) from = Math.min(from ?? Infinity, before.at(-1)!.end);
      }
    }
    return from;
  };

  return {
    push(piece) {
      text += piece;
      for (let at = text.indexOf('\n', start); at >= 0; at = text.indexOf('\n', start)) {
        const line = (start === 0 ? before : '') + text.slice(start, at);
        start = at + 1;
        blank = line.trim() === '' ? blank + 1 : 0;
        if (blank > mostBlank) return { safe: start, reason: 'repetition' };
        if (blank > 0) continue;
        lines.push({ text: line, end: at });
        const size = sizes.find((each) => repeats(each, times));
        if (size !== undefined)
          return { safe: lines.at(-1 - size * (times - shownGroups(size)))!.end, reason: 'repetition' };
      }
      if (repeatsWords(text.slice(start))) return { safe: text.length, reason: 'repetition' };
      return { safe: heldBackFrom() ?? text.length, reason: null };
    },
    settled: () => text.length,
  };
}

/** Whether a line ends in the same words many times over. */
function repeatsWords(line: string): boolean {
  for (let size = 2; size <= longestWords && size * timesInLine <= line.length; size++) {
    const unit = line.slice(-size);
    if (!hasWords(unit)) continue;
    let count = 1;
    while (line.slice(-size * (count + 1), -size * count) === unit) count++;
    if (count >= timesInLine && count * size >= charactersInLine) return true;
  }
  return false;
}
