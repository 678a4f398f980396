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
  type WorkspaceClientCapabilities,
} from 'vscode-languageserver/node';
import type { TextDocument } from 'vscode-languageserver-textdocument';
import type { Trace } from '../../protocol/exittrace.ts';
import * as protocol from '../../protocol/server.ts';
import type { AnnotatedText } from './annotated-text.ts';
import * as annotations from './annotations.ts';
import * as documents from './documents.ts';
import type { Incoming } from './incoming.ts';
import { tell } from './outgoing.ts';
import { changeParams, documentParams, openParams, positionParams, rangeParams } from './params.ts';
import type { Written } from './written.ts';

/** What an editor requests again if it is asked to, and supports that. */
const refreshed = ['semanticTokens', 'inlayHint', 'codeLens'] as const;
type Refreshing = Pick<WorkspaceClientCapabilities, (typeof refreshed)[number]>;

export interface Shown {
  /** What is shown from now on, and what the editor can be asked to request again. */
  configure(display: protocol.DisplayOptions, able: Refreshing): void;
  readonly isOpen: (uri: string) => boolean;
  /** The trace of a generation that a document has. */
  readonly traceOf: (uri: string, generation: string) => Trace | undefined;
}

export function answerDocuments(
  incoming: Incoming,
  connection: Connection,
  written: Written,
  display: protocol.DisplayOptions,
): Shown {
  const open = newDocuments(connection);
  let able: Refreshing = {};

  /** Asks the editor to request lenses and the like again: positions changed without an edit. */
  const refresh = (): void => {
    for (const each of refreshed)
      if (able[each]?.refreshSupport) tell(() => connection.sendRequest(`workspace/${each}/refresh`));
  };

  followEdits(incoming, open, written);
  answerViews(incoming, open, () => display);
  answerTraces(incoming, open, written, refresh);
  incoming.listen(protocol.displayChanged, (changed) => {
    display = { ...display, ...changed };
    refresh();
  });

  return {
    configure(next, ableTo) {
      display = next;
      able = ableTo;
    },
    isOpen: (uri) => open.get(uri) !== undefined,
    traceOf: (uri, generation) => open.get(uri)?.texts.find(({ id }) => id === generation)?.trace,
  };
}

/** The open documents by address. */
interface Documents {
  get(uri: string): documents.OpenDocument | undefined;
  all(): readonly documents.OpenDocument[];
  /** Replaces a document; reports the problem of a trace file to the editor. */
  set(opened: documents.OpenDocument): void;
  /** Forgets a document; takes back what was reported of it. */
  delete(uri: string): void;
  /** Collects records from all traces of a document, with its conversion of offsets to positions. */
  collect<T>(uri: string, each: (text: AnnotatedText, at: annotations.PositionOf) => T[]): T[];
}

function newDocuments(connection: Connection): Documents {
  const open = new Map<string, documents.OpenDocument>();
  const report = ({ uri, languageId }: TextDocument, problem: documents.Problem | null): void => {
    if (languageId !== documents.TRACE_LANGUAGE) return;
    const line = problem?.line ?? 0;
    const range = { start: { line, character: 0 }, end: { line: line + 1, character: 0 } };
    const diagnostics = problem
      ? [{ range, message: problem.message, source: 'Early Exit', severity: 1 as const }]
      : [];
    tell(() => connection.sendDiagnostics({ uri, diagnostics }));
  };
  return {
    get: (uri) => open.get(uri),
    all: () => [...open.values()],
    set(opened) {
      open.set(opened.document.uri, opened);
      report(opened.document, opened.problem);
    },
    delete(uri) {
      const closed = open.get(uri);
      open.delete(uri);
      if (closed) report(closed.document, null);
    },
    collect(uri, each) {
      const found = open.get(uri);
      return found?.texts.flatMap((text) => each(text, (offset) => found.document.positionAt(offset))) ?? [];
    },
  };
}

function followEdits({ listen }: Incoming, open: Documents, written: Written): void {
  /** The document that was closed last: an editor that gives a document another language closes it and opens it again. */
  let closed: documents.OpenDocument | null = null;
  const forgetClosed = (): void => {
    if (closed) written.forgetDocument(closed.document.uri);
    closed = null;
  };
  listen(
    { method: DidOpenTextDocumentNotification.method, params: openParams },
    ({ textDocument: { uri, languageId, version, text } }) => {
      const opened = documents.openDocument(uri, languageId, version, text);
      const reopened = closed && documents.reopened(closed, opened);
      if (reopened) closed = null;
      else forgetClosed();
      open.set(reopened ?? opened);
    },
  );
  listen(
    { method: DidChangeTextDocumentNotification.method, params: changeParams },
    ({ textDocument: { uri, version }, contentChanges }) => {
      const document = open.get(uri);
      if (document) open.set(documents.changeDocument(document, contentChanges, version));
    },
  );
  listen({ method: DidCloseTextDocumentNotification.method, params: documentParams }, ({ textDocument: { uri } }) => {
    forgetClosed();
    closed = open.get(uri) ?? null;
    open.delete(uri);
  });
}

/** Answers the requests for what is shown over a text: only what the display options turn on. */
function answerViews({ answer }: Incoming, open: Documents, display: () => protocol.DisplayOptions): void {
  answer({ method: CodeLensRequest.method, params: documentParams }, ({ textDocument: { uri } }) =>
    display().codeLens ? open.collect(uri, annotations.codeLenses) : [],
  );
  answer({ method: HoverRequest.method, params: positionParams }, ({ textDocument: { uri }, position }) => {
    const document = open.get(uri)?.document;
    if (!document || !display().hover) return null;
    const offset = document.offsetAt(position);
    const hovers = open.collect(uri, (text, at) => [annotations.hover(text, offset, at)]);
    return hovers.find((hover) => hover !== null) ?? null;
  });
  answer({ method: InlayHintRequest.method, params: rangeParams }, ({ textDocument: { uri }, range }) => {
    const document = open.get(uri)?.document;
    if (!document) return [];
    const span = { start: document.offsetAt(range.start), end: document.offsetAt(range.end) };
    const { inlayHints, lineFigures } = display();
    return [
      ...(inlayHints ? open.collect(uri, (text, at) => annotations.inlayHints(text, span, at)) : []),
      ...(lineFigures ? open.collect(uri, (text, at) => annotations.lineFigures(text, span, at)) : []),
    ];
  });
  answer({ method: DocumentSymbolRequest.method, params: documentParams }, ({ textDocument: { uri } }) =>
    open.collect(uri, annotations.documentSymbols),
  );
  answer({ method: SemanticTokensRequest.method, params: documentParams }, ({ textDocument: { uri } }) => {
    const found = open.get(uri);
    if (!found || !display().semanticTokens) return { data: [] };
    const { document, texts } = found;
    return { data: annotations.semanticTokens(texts, document.getText(), (offset) => document.positionAt(offset)) };
  });
}

/** Attaches traces to texts, detaches them and reads them. */
function answerTraces({ answer, listen }: Incoming, open: Documents, written: Written, refresh: () => void): void {
  const attach = ({ uri, generation, offset, trace }: protocol.AttachParams): { attached: boolean } => {
    const found = open.get(uri);
    const attached = found && documents.attach(found, generation, offset, trace);
    if (attached) open.set(attached);
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
    for (const document of open.all()) open.set(documents.detach(document, generation));
    refresh();
  });
  answer(protocol.readTraces, ({ uri }) =>
    open.collect(uri, (text) => [{ generation: text.id, offset: text.span.start, trace: text.trace }]),
  );
}
