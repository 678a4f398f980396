/**
 * Generations in documents, on the extension's side: the position of each, and its trace. Pure records; knows no `vscode`. The server
 * applies the same rules, so that colours here and lenses there agree.
 */
import { hasExits, type Trace } from '../../protocol/exittrace.ts';
import { tokenShade, type Shade } from '../../protocol/palette.ts';
import type { RecipeOptions } from '../../protocol/server.ts';
import { pieceAt, pieceOffsets, shiftSpan, withLineEnds, type Span, type TextChange } from '../../protocol/spans.ts';
import type { TokenRecord } from '../../protocol/trace.ts';

export interface GeneratedText {
  readonly id: string;
  readonly uri: string;
  readonly lineEnd: string;
  readonly span: Span;
  readonly trace: Trace;
  /** Options that it was written with and goes on with, whatever the settings are then: its model and exits, and others that were given. */
  readonly overrides?: RecipeOptions;
}

export interface Edit extends TextChange {
  readonly text: string;
}

/** The text of some tokens in a document. */
export const textOf = (tokens: readonly TokenRecord[], lineEnd: string): string =>
  withLineEnds(tokens.map((token) => token.text).join(''), lineEnd);

/** A generation after an edit: moved, or extended by its own next text (`expected`), or null if its text was touched. */
export function afterEdit(generated: GeneratedText, edit: Edit, expected: string | null): GeneratedText | null {
  const { span } = generated;
  if (expected !== null && edit.offset === span.end && edit.removed === 0 && edit.text === expected) {
    return { ...generated, span: { start: span.start, end: span.end + edit.inserted } };
  }
  const moved = shiftSpan(span, edit);
  return moved && { ...generated, span: moved };
}

/** A generation in another document that was saved from its own: where it was, or at the only place with its text; null if there is none. */
export function carried(generated: GeneratedText, document: string): GeneratedText | null {
  const text = textOf(generated.trace.tokens, generated.lineEnd);
  if (text.trim() === '') return null;
  if (document.startsWith(text, generated.span.start)) return generated;
  const at = document.indexOf(text);
  if (at < 0 || document.includes(text, at + 1)) return null;
  return { ...generated, span: { start: at, end: at + text.length } };
}

/** Each token's text with its shade, in order; tokens without text have none, nor has a text without exits. */
export function shadeSpans({ span, trace, lineEnd }: GeneratedText): { shade: Shade; span: Span }[] {
  if (!hasExits(trace)) return [];
  const stretches: { shade: Shade; span: Span }[] = [];
  let start = span.start;
  for (const token of trace.tokens) {
    const end = start + withLineEnds(token.text, lineEnd).length;
    if (end > start) stretches.push({ shade: tokenShade(token, trace.exits), span: { start, end } });
    start = end;
  }
  return stretches;
}

/** Index of the token at an offset; −1 outside. */
export const tokenIndexAt = ({ span, trace, lineEnd }: GeneratedText, offset: number): number =>
  pieceAt(
    pieceOffsets(
      span.start,
      trace.tokens.map((token) => withLineEnds(token.text, lineEnd)),
    ),
    offset,
  );

/** The span of a token's text. */
export function tokenSpan({ span, trace, lineEnd }: GeneratedText, token: number): Span {
  const start = span.start + textOf(trace.tokens.slice(0, token), lineEnd).length;
  return { start, end: start + textOf(trace.tokens.slice(token, token + 1), lineEnd).length };
}
