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

/** A line that would continue what may become a repetition, and the beginning of what is not shown of that. */
interface Expected {
  readonly text: string;
  readonly from: number;
}

/** Blank lines in a row. */
const mostBlank = 4;
/** Within a line: the number of repetitions of words, and the least number of characters of all of them together. */
const timesInLine = 5;
const charactersInLine = 60;
const longestWords = 80;

/**
 * Ends a text at the third of three repetitions; what may become one is held back, from `shownGroups` on. `before`: the text before the cursor
 * on its line.
 */
export function repetitionEnd(before = ''): TextEnd {
  const lines: Line[] = [];
  let text = '';
  let start = 0;
  let blank = 0;
  /** After the last whole line. */
  let expected: readonly Expected[] = [];

  const lineUpTo = (end: number): string => (start === 0 ? before : '') + text.slice(start, end);
  return {
    push(piece) {
      text += piece;
      for (let at = text.indexOf('\n', start); at >= 0; at = text.indexOf('\n', start)) {
        const line = lineUpTo(at);
        start = at + 1;
        blank = line.trim() === '' ? blank + 1 : 0;
        if (blank > mostBlank) return { safe: start, reason: 'repetition' };
        if (blank > 0) continue;
        lines.push({ text: line, end: at });
        const size = sizes.find((each) => endsInGroups(lines, each, times));
        if (size !== undefined)
          return { safe: lines.at(-1 - size * (times - shownGroups(size)))!.end, reason: 'repetition' };
        expected = expectedAfter(lines.slice(-mostLines * times));
      }
      if (repeatsWords(text.slice(start))) return { safe: text.length, reason: 'repetition' };
      const held = expected.filter((one) => one.text.startsWith(lineUpTo(text.length)));
      return { safe: Math.min(text.length, ...held.map(({ from }) => from)), reason: null };
    },
    settled: () => text.length,
  };
}

/** Lengths of groups that are looked for. */
const sizes = Array.from({ length: mostLines }, (_, i) => i + 1);

/** Whether the last lines are `count` equal groups of `size`, with words. */
function endsInGroups(lines: readonly Line[], size: number, count: number): boolean {
  const last = lines.slice(-size * count);
  const isWhole = last.length === size * count;
  return isWhole && areLike(last, last.slice(0, size)) && last.slice(0, size).some(({ text }) => hasWords(text));
}

/** Whether lines are those of a group, again and again. */
const areLike = (lines: readonly Line[], group: readonly Line[]): boolean =>
  lines.every(({ text }, i) => text === group[i % group.length]!.text);

/**
 * The lines that would continue what may become a repetition: those that follow groups of which enough are shown, and the first lines of
 * another one.
 */
const expectedAfter = (lines: readonly Line[]): Expected[] =>
  sizes.flatMap((size) => {
    const groups = shownGroups(size);
    const most = Math.min(size * (times - groups), lines.length);
    return Array.from({ length: most }, (_, begun) => lines.length - begun).flatMap((end) => {
      const [whole, next] = [lines.slice(0, end), lines.slice(end)];
      const group = whole.slice(-size);
      if (!endsInGroups(whole, size, groups) || !areLike(next, group)) return [];
      return [{ text: group[next.length % size]!.text, from: whole.at(-1)!.end }];
    });
  });

/** Whether a line ends in the same words many times over. */
function repeatsWords(line: string): boolean {
  for (let size = 2; size <= longestWords && size * timesInLine <= line.length; size++) {
    const unit = line.slice(-size);
    let count = 1;
    while (line.slice(-size * (count + 1), -size * count) === unit) count++;
    if (count >= timesInLine && count * size >= charactersInLine && hasWords(unit)) return true;
  }
  return false;
}
