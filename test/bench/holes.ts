/** Lines taken out of texts, to be filled in. Knows no model. */

export interface Hole {
  /** Up to where the line begins, its indentation included. */
  readonly prefix: string;
  readonly line: string;
  /** From the end of the line on. */
  readonly suffix: string;
}

const shortest = 10;
const longest = 100;

/** `count` lines, spread evenly over those of all texts that are worth asking for: no comments, no imports. */
export function cutHoles(texts: readonly string[], count: number): Hole[] {
  const all = texts.flatMap((text) => holesOf(text));
  const chosen = Math.min(count, all.length);
  return Array.from({ length: chosen }, (_, i) => all[Math.floor((i * all.length) / chosen)]!);
}

function holesOf(text: string): Hole[] {
  const holes: Hole[] = [];
  let start = 0;
  for (const whole of text.split('\n')) {
    const line = whole.trim();
    const from = start + whole.indexOf(line);
    if (isWorthAsking(line)) holes.push({ prefix: text.slice(0, from), line, suffix: text.slice(from + line.length) });
    start += whole.length + 1;
  }
  return holes;
}

const isWorthAsking = (line: string): boolean =>
  line.length >= shortest && line.length <= longest && /\w/.test(line) && !/^(\/\/|\/?\*|import\b)/.test(line);

/** The share of holes whose line was said, blanks at its end aside; `lines` in the order of the holes. */
export const hitShare = (holes: readonly Hole[], lines: readonly string[]): number =>
  holes.filter(({ line }, i) => lines[i]!.trimEnd() === line).length / holes.length;
