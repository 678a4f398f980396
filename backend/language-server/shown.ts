/** What open documents show of their traces (lenses, hovers, hints, symbols and colours), and attaching a trace to a text. */
import {
  CodeLensRequest,
  DidChangeTextDocumentNotification,
  DidCloseTextDocumentNotification,
  DidOpenTextDocumentNotification,
  DocumentSymbolRequest,
  HoverRequest,
  InlayHintRequest,
  SemanticTokensRequest,
  type Connection,
} from 'vscode-languageserver/node';
import type { Trace } from '../../protocol/exittrace.ts';
import * as protocol from '../../protocol/server.ts';
import type { AnnotatedText } from './annotated-text.ts';
import * as annotations from './annotations.ts';
import * as documents from './documents.ts';
import type { Incoming } from './incoming.ts';
import { changeParams, documentParams, openParams, positionParams, rangeParams } from './params.ts';
import type { Written } from './written.ts';

export interface Shown {
  /** What is shown from now on, and whether the editor can be asked to request it again. */
  configure(display: protocol.DisplayOptions, canRefresh: boolean): void;
  readonly isOpen: (uri: string) => boolean;
  /** The trace of a generation that a document has. */
  readonly traceOf: (uri: string, generation: string) => Trace | undefined;
}

export function answerDocuments(
  { answer, listen }: Incoming,
  connection: Connection,
  written: Written,
  display: protocol.DisplayOptions,
): Shown {
  const open = new Map<string, documents.OpenDocument>();
  let canRefresh = false;

  /** Asks the editor to request lenses and the like again: positions changed without an edit. */
  const refresh = (): void => {
    if (!canRefresh) return;
    void connection.languages.semanticTokens.refresh();
    void connection.languages.inlayHint.refresh();
    void connection.sendRequest('workspace/codeLens/refresh');
  };

  const set = (opened: documents.OpenDocument): void => {
    const { document, problem } = opened;
    open.set(document.uri, opened);
    if (document.languageId !== documents.TRACE_LANGUAGE) return;
    const line = problem?.line ?? 0;
    const range = { start: { line, character: 0 }, end: { line: line + 1, character: 0 } };
    void connection.sendDiagnostics({
      uri: document.uri,
      diagnostics: problem ? [{ range, message: problem.message, source: 'Early Exit', severity: 1 }] : [],
    });
  };

  /** What a document shows of its traces, each with the document's own way to positions. */
  const collect = <T>(
    uri: string,
    shown: boolean,
    each: (text: AnnotatedText, at: annotations.PositionOf) => T[],
  ): T[] => {
    const found = open.get(uri);
    if (!found || !shown) return [];
    return found.texts.flatMap((text) => each(text, (offset) => found.document.positionAt(offset)));
  };

  listen(
    { method: DidOpenTextDocumentNotification.method, params: openParams },
    ({ textDocument: { uri, languageId, version, text } }) =>
      set(documents.openDocument(uri, languageId, version, text)),
  );
  listen(
    { method: DidChangeTextDocumentNotification.method, params: changeParams },
    ({ textDocument: { uri, version }, contentChanges }) => {
      const document = open.get(uri);
      if (document) set(documents.changeDocument(document, contentChanges, version));
    },
  );
  listen({ method: DidCloseTextDocumentNotification.method, params: documentParams }, ({ textDocument: { uri } }) => {
    open.delete(uri);
    written.forgetDocument(uri);
  });

  answer({ method: CodeLensRequest.method, params: documentParams }, ({ textDocument: { uri } }) =>
    collect(uri, display.codeLens, annotations.codeLenses),
  );
  answer({ method: HoverRequest.method, params: positionParams }, ({ textDocument: { uri }, position }) => {
    const offset = open.get(uri)?.document.offsetAt(position) ?? 0;
    const hovers = collect(uri, display.hover, (text, at) => [annotations.hover(text, offset, at)]);
    return hovers.find((hover) => hover !== null) ?? null;
  });
  answer({ method: InlayHintRequest.method, params: rangeParams }, ({ textDocument: { uri }, range }) => {
    const document = open.get(uri)?.document;
    if (!document) return [];
    const span = { start: document.offsetAt(range.start), end: document.offsetAt(range.end) };
    return [
      ...collect(uri, display.inlayHints, (text, at) => annotations.inlayHints(text, span, at)),
      ...collect(uri, display.lineFigures, (text, at) => annotations.lineFigures(text, span, at)),
    ];
  });
  answer({ method: DocumentSymbolRequest.method, params: documentParams }, ({ textDocument: { uri } }) =>
    collect(uri, true, annotations.documentSymbols),
  );
  answer({ method: SemanticTokensRequest.method, params: documentParams }, ({ textDocument: { uri } }) => {
    const found = open.get(uri);
    if (!found || !display.semanticTokens) return { data: [] };
    const { document, texts } = found;
    return { data: annotations.semanticTokens(texts, document.getText(), (offset) => document.positionAt(offset)) };
  });

  const attach = ({ uri, generation, offset, trace }: protocol.AttachParams): { attached: boolean } => {
    const found = open.get(uri);
    const attached = found && documents.attach(found, generation, offset, trace);
    if (attached) set(attached);
    refresh();
    return { attached: Boolean(attached) };
  };
  answer(protocol.placeTokens, ({ generation, offset, count }) => {
    const next = written.take(generation, count);
    return next ? attach({ generation, offset, ...next }) : { attached: false };
  });
  answer(protocol.attachTrace, (params) => {
    written.forget(params.generation);
    return attach(params);
  });
  listen(protocol.detachTrace, ({ generation }) => {
    written.forget(generation);
    for (const document of open.values()) set(documents.detach(document, generation));
    refresh();
  });
  answer(protocol.readTraces, ({ uri }) =>
    collect(uri, true, (text) => [{ generation: text.id, offset: text.span.start, trace: text.trace }]),
  );
  listen(protocol.displayChanged, (changed) => {
    display = { ...display, ...changed };
    refresh();
  });

  return {
    configure(next, canAsk) {
      display = next;
      canRefresh = canAsk;
    },
    isOpen: (uri) => open.has(uri),
    traceOf: (uri, generation) => open.get(uri)?.texts.find(({ id }) => id === generation)?.trace,
  };
}
