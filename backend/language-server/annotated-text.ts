/**
 * A trace attached to text: the offset of each token, and the lines that tokens form. The same record is made for generated text in any
 * document and for a `*.exittrace` file. Knows no protocol of an editor.
 */
import { textLines, type Trace } from '../../protocol/exittrace.ts';
import { parseTrace, type ReadLines } from '../../protocol/trace-reading.ts';
import { pieceAt, pieceOffsets, shiftSpan, withLineEnds, type Span, type TextChange } from '../../protocol/spans.ts';

/** Tokens on one line; blank ones belong to the line before. */
export interface LineGroup {
  /** Tokens `[start, end)`. */
  readonly start: number;
  readonly end: number;
  /** Offset of the line's lens: the first of its tokens' text that one sees. */
  readonly anchor: number;
}

export interface AnnotatedText {
  /** The client's name of the generation; a trace file has its own address. */
  readonly id: string;
  readonly trace: Trace;
  readonly span: Span;
  /** The span of each token's text; parallel to `trace.tokens`. */
  readonly spans: readonly Span[];
  readonly groups: readonly LineGroup[];
  /** Hovers, hints and the like answer anywhere on a token's own line of a trace file. */
  readonly file: boolean;
}

/** Attaches a trace to the text at an offset; null if the text there is not the trace's. */
export function annotate(id: string, trace: Trace, offset: number, text: string): AnnotatedText | null {
  const lineEnd = text.includes('\r\n') ? '\r\n' : '\n';
  const pieces = trace.tokens.map((token) => withLineEnds(token.text, lineEnd));
  const joined = pieces.join('');
  if (!text.startsWith(joined, offset)) return null;
  const offsets = pieceOffsets(offset, pieces);
  const spans = pieces.map((_, i) => ({ start: offsets[i]!, end: offsets[i + 1]! }));
  return {
    id,
    trace,
    span: { start: offset, end: offsets.at(-1)! },
    spans,
    groups: groupByLine(spans, pieces, text),
    file: false,
  };
}

/** Continues a generation with the tokens directly after its text; null if the text there is not theirs. */
export function extend(text: AnnotatedText, more: Trace, document: string): AnnotatedText | null {
  const trace = { ...text.trace, ...more, tokens: [...text.trace.tokens, ...more.tokens] };
  return annotate(text.id, trace, text.span.start, document);
}

/** The same tokens after an edit of the document, or null if the edit touched them. */
export function shift(text: AnnotatedText, change: TextChange): AnnotatedText | null {
  const span = shiftSpan(text.span, change);
  if (span === null || span === text.span) return span && text;
  const by = span.start - text.span.start;
  const move = (inner: Span): Span => ({ start: inner.start + by, end: inner.end + by });
  return {
    ...text,
    span,
    spans: text.spans.map(move),
    groups: text.groups.map((group) => ({ ...group, anchor: group.anchor + by })),
  };
}

/** A `*.exittrace` document; `known` are the lines of an earlier state of it. Throws a `UserError` that names the line. */
export function annotateFile(
  uri: string,
  name: string,
  text: string,
  known?: ReadLines,
): { text: AnnotatedText; lines: ReadLines } {
  const { trace, tokenLines, lines } = parseTrace(text, name, known);
  const starts = lineStarts(text);
  const spans = tokenLines.map((line) => {
    const start = starts[line]!;
    const end = starts[line + 1] ?? text.length;
    return { start, end: start + text.slice(start, end).trimEnd().length };
  });
  const groups = textLines(trace.tokens).map(([start, end]) => ({ start, end, anchor: spans[start]!.start }));
  return { text: { id: uri, trace, span: { start: 0, end: text.length }, spans, groups, file: true }, lines };
}

/** Index of the token whose text contains an offset; −1 if there is none. */
export function tokenAt(text: AnnotatedText, offset: number): number {
  if (text.file) return text.spans.findIndex((span) => offset >= span.start && offset <= span.end);
  return pieceAt([...text.spans.map((span) => span.start), text.span.end], offset);
}

function groupByLine(spans: readonly Span[], pieces: readonly string[], text: string): LineGroup[] {
  const groups: LineGroup[] = [];
  pieces.forEach((piece, i) => {
    const blank = piece.search(/\S/);
    if (blank < 0) return;
    const anchor = spans[i]!.start + blank;
    const group = groups.at(-1);
    if (group && !text.slice(group.anchor, anchor).includes('\n')) return;
    if (group) groups[groups.length - 1] = { ...group, end: i };
    groups.push({ start: group ? i : 0, end: pieces.length, anchor });
  });
  return groups;
}

/** Offset of each line's first unit. */
function lineStarts(text: string): number[] {
  const starts = [0];
  for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) starts.push(i + 1);
  return starts;
}
