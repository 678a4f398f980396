/**
 * Spans of text that stay right while a document is edited around them. Offsets are UTF-16 units. Knows no editor and
 * no tokens; the server and the extension both use it, so that they agree.
 */

export interface Span {
  readonly start: number;
  readonly end: number;
}

/** `removed` units at `offset` were replaced by `inserted` units. */
export interface TextChange {
  readonly offset: number;
  readonly removed: number;
  readonly inserted: number;
}

/**
 * The position of a span after a change, or null if the change touched its text. Text that is inserted at either edge does not touch it.
 */
export function shiftSpan(span: Span, change: TextChange): Span | null {
  const end = change.offset + change.removed;
  if (change.offset >= span.end && span.end > span.start) return span;
  if (end <= span.start) {
    const by = change.inserted - change.removed;
    return by === 0 ? span : { start: span.start + by, end: span.end + by };
  }
  return null;
}

/** Offsets of the beginning of each piece of a text, and of the end of the last one: `pieces.length + 1` numbers. */
export function pieceOffsets(start: number, pieces: readonly string[]): number[] {
  const offsets = [start];
  for (const piece of pieces) offsets.push(offsets.at(-1)! + piece.length);
  return offsets;
}

/** Index of the piece that contains an offset, by bisection over `pieceOffsets`; −1 outside. Empty pieces are never found. */
export function pieceAt(offsets: readonly number[], offset: number): number {
  const last = offsets.length - 1;
  if (last < 1 || offset < offsets[0]! || offset >= offsets[last]!) return -1;
  let low = 0;
  let high = last;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (offsets[middle]! <= offset) low = middle;
    else high = middle;
  }
  return low;
}

/** The text of a token in a document with these line ends. */
export const withLineEnds = (text: string, lineEnd: string): string =>
  lineEnd === '\n' ? text.replaceAll('\r', '') : text.replaceAll('\r', '').replaceAll('\n', lineEnd);
