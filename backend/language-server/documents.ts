/**
 * Open documents with the generations in them. Changes arrive one by one, as LSP sends them, and move or drop the
 * generations. Knows no connection.
 */
import type { TextDocumentContentChangeEvent } from 'vscode-languageserver/node';
import { TextDocument } from 'vscode-languageserver-textdocument';
import { describeError, userError } from '../../protocol/errors.ts';
import type { Trace } from '../../protocol/exittrace.ts';
import type { ReadLines } from '../../protocol/trace-reading.ts';
import { annotate, annotateFile, extend, shift, type AnnotatedText } from './annotated-text.ts';

export interface Problem {
  /** Line from 0. */
  line: number;
  message: string;
}

export interface OpenDocument {
  readonly document: TextDocument;
  readonly texts: readonly AnnotatedText[];
  /** What is wrong with a trace file. */
  readonly problem: Problem | null;
  /** Lines of a trace file that need not be read again. */
  readonly lines: ReadLines;
}

export const TRACE_LANGUAGE = 'exittrace';

export function openDocument(uri: string, language: string, version: number, text: string): OpenDocument {
  return withTraceFile({
    document: TextDocument.create(uri, language, version, text),
    texts: [],
    problem: null,
    lines: new Map(),
  });
}

/** A document that was closed and opened again as another language keeps its generations; null if it is another, or was read again. */
export function reopened(closed: OpenDocument, opened: OpenDocument): OpenDocument | null {
  const [before, now] = [closed.document, opened.document];
  const isSame = now.uri === before.uri && now.version === before.version && now.getText() === before.getText();
  return isSame && now.languageId !== before.languageId
    ? { ...opened, texts: [...closed.texts.filter(({ file }) => !file), ...opened.texts] }
    : null;
}

/** Consumes `open`: its text is changed in place. */
export function changeDocument(
  open: OpenDocument,
  changes: readonly TextDocumentContentChangeEvent[],
  version: number,
): OpenDocument {
  let { document, texts } = open;
  for (const change of changes) {
    if ('range' in change) {
      const offset = document.offsetAt(change.range.start);
      const removed = document.offsetAt(change.range.end) - offset;
      const edit = { offset, removed, inserted: change.text.length };
      texts = texts.flatMap((text) => shift(text, edit) ?? []);
    } else {
      // Replaces the whole text; parts that are unchanged keep their tokens.
      texts = texts.flatMap((text) => annotate(text.id, text.trace, text.span.start, change.text) ?? []);
    }
    document = TextDocument.update(document, [change], version);
  }
  return withTraceFile({ document, texts, problem: null, lines: open.lines });
}

/** Attaches a trace to the document, or continues the generation of the same name; null if the document has another text. */
export function attach(open: OpenDocument, id: string, offset: number, trace: Trace): OpenDocument | null {
  const text = open.document.getText();
  const known = open.texts.find((other) => other.id === id);
  const attached = known ? extend(known, trace, text) : annotate(id, trace, offset, text);
  return attached && { ...open, texts: [...open.texts.filter((other) => other.id !== id), attached] };
}

export const detach = (open: OpenDocument, id: string): OpenDocument => ({
  ...open,
  texts: open.texts.filter((text) => text.id !== id),
});

function withTraceFile(open: OpenDocument): OpenDocument {
  const { document, lines: known } = open;
  if (document.languageId !== TRACE_LANGUAGE) return open;
  try {
    const source = document.getText();
    const name = fileName(document.uri);
    if (source.length > longestTrace) throw tooLarge(name, source.length);
    const { text, lines } = annotateFile(document.uri, name, source, known);
    return { document, texts: [text], problem: null, lines };
  } catch (error) {
    const message = describeError(error);
    return {
      document,
      texts: [],
      lines: known,
      problem: { line: Number(/, line (\d+):/.exec(message)?.[1] ?? 1) - 1, message },
    };
  }
}

/**
 * Some 4,500 tokens with predictions of four exits, or 60,000 without. For more, reading the file after each keystroke, and the lists that
 * an editor then requests (lenses, an outline, colours), would keep the server from answering.
 */
const longestTrace = 2_000_000;

const tooLarge = (name: string, length: number): Error =>
  userError(
    'bad-data',
    `${name}, line 1: the trace is too large to be shown with its exits (${(length / 1e6).toFixed(1)} MB, at most ${longestTrace / 1e6}).`,
    'Generate fewer tokens, or without the candidates of every exit.',
  );

const fileName = (uri: string): string => decoded(uri.slice(uri.lastIndexOf('/') + 1));

/** An address from outside may contain a lone percent sign. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
