/**
 * Pieces of files at the places that the user visited: what a completion sees of other files. Pure; knows no `vscode`. A piece that is
 * added again keeps its place, because the beginning of a prompt should change least.
 */
export interface Chunk {
  readonly file: string;
  readonly text: string;
}

export const chunkLines = 64;
export const mostChunks = 16;
/** How many of the oldest go at once when there is no room, so that the others keep their place for a while. */
const dropped = 4;
/** From this share of common lines on two pieces are one. */
const nearDuplicate = 0.9;
/** A longer piece is no text of a person. */
const mostCharacters = 16_000;
/** A shorter piece says nothing. */
const leastLines = 3;

/** The piece of a file around a line: `chunkLines` lines, or all of a shorter file. */
export function chunkAround(lines: readonly string[], line: number): string {
  const start = Math.max(0, Math.min(line - chunkLines / 2, lines.length - chunkLines));
  return lines.slice(start, start + chunkLines).join('\n');
}

/** With a new piece last; the same list if the piece adds nothing. Pieces that nearly equal it are removed. */
export function withChunk(chunks: readonly Chunk[], chunk: Chunk): readonly Chunk[] {
  if (chunk.text.length > mostCharacters) return chunks;
  const lines = linesOf(chunk.text);
  if (lines.size < leastLines) return chunks;
  const alike = chunks.filter(({ text }) => jaccard(linesOf(text), lines) > nearDuplicate);
  if (alike.some(({ file, text }) => file === chunk.file && text === chunk.text)) return chunks;
  const others = chunks.filter((each) => !alike.includes(each));
  const kept = others.length < mostChunks ? others : others.slice(dropped);
  return [...kept, chunk];
}

/** Those that say something beside the text around the cursor, which is of `file`. */
export function chunksBeside(chunks: readonly Chunk[], file: string, text: string): readonly Chunk[] {
  const shown = linesOf(text);
  const isShown = (chunk: Chunk): boolean => {
    const lines = [...linesOf(chunk.text)];
    return 2 * lines.filter((line) => shown.has(line)).length > lines.length;
  };
  return chunks.filter((chunk) => chunk.file !== file || !isShown(chunk));
}

/** Common members ÷ all members; 1 if both are empty. */
export function jaccard(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  let common = 0;
  for (const each of a) if (b.has(each)) common++;
  const all = a.size + b.size - common;
  return all === 0 ? 1 : common / all;
}

const linesOf = (text: string): Set<string> =>
  new Set(
    text
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== ''),
  );
