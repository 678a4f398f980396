/** Lines taken out of texts, to be filled in. Knows no model. */

export interface Hole {
  readonly prefix: string;
  /** Without its indentation, which is missing as well. */
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
    const end = start + whole.trimEnd().length;
    if (isWorthAsking(line)) holes.push({ prefix: text.slice(0, start), line, suffix: text.slice(end) });
    start += whole.length + 1;
  }
  return holes;
}

const isWorthAsking = (line: string): boolean =>
  line.length >= shortest && line.length <= longest && /\w/.test(line) && !/^(\/\/|\/?\*|import\b)/.test(line);

/** The share of holes whose line was said, blanks around it aside; `lines` in the order of the holes. */
export const hitShare = (holes: readonly Hole[], lines: readonly string[]): number =>
  holes.filter(({ line }, i) => lines[i]!.trim() === line).length / holes.length;
