/**
 * Open documents with the generations in them. Changes arrive one by one, as LSP sends them, and move or drop the
 * generations. Knows no connection.
 */
import type { TextDocumentContentChangeEvent } from 'vscode-languageserver/node';
import { TextDocument } from 'vscode-languageserver-textdocument';
import { describeError } from '../../protocol/errors.ts';
import type { Trace } from '../../protocol/exittrace.ts';
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
}

export const TRACE_LANGUAGE = 'exittrace';

export function openDocument(uri: string, language: string, version: number, text: string): OpenDocument {
  return withTraceFile({ document: TextDocument.create(uri, language, version, text), texts: [], problem: null });
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
      // The whole text anew: what still reads the same keeps its place.
      texts = texts.flatMap((text) => annotate(text.id, text.trace, text.span.start, change.text) ?? []);
    }
    document = TextDocument.update(document, [change], version);
  }
  return withTraceFile({ document, texts, problem: null });
}

/** Ties a trace to the document, or continues the generation of the same name; null where the text is another one. */
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
  const { document } = open;
  if (document.languageId !== TRACE_LANGUAGE) return open;
  try {
    const text = annotateFile(document.uri, fileName(document.uri), document.getText());
    return { document, texts: [text], problem: null };
  } catch (error) {
    const message = describeError(error);
    return { document, texts: [], problem: { line: Number(/, line (\d+):/.exec(message)?.[1] ?? 1) - 1, message } };
  }
}

const fileName = (uri: string): string => decodeURIComponent(uri.slice(uri.lastIndexOf('/') + 1));
