/**
 * The language server: a connection, an engine, and the handlers of requests. It runs on the main thread and never computes; jobs run in
 * the engine's threads. Any LSP editor can use it; requests beyond LSP are in protocol/server.ts.
 */
import {
  CodeLensRequest,
  DidChangeTextDocumentNotification,
  DidCloseTextDocumentNotification,
  DidOpenTextDocumentNotification,
  DocumentSymbolRequest,
  ErrorCodes,
  HoverRequest,
  InlayHintRequest,
  ResponseError,
  SemanticTokensRegistrationType,
  SemanticTokensRequest,
  TextDocumentSyncKind,
  type Connection,
  type InitializeParams,
  type InitializeResult,
} from 'vscode-languageserver/node';
import { describeError } from '../../protocol/errors.ts';
import * as protocol from '../../protocol/server.ts';
import type { Engine } from '../worker/engine.ts';
import type { AnnotatedText } from './annotated-text.ts';
import * as annotations from './annotations.ts';
import { findExits, findModels, findStudies } from './catalogue.ts';
import { complete } from './completions.ts';
import { answerDoctor } from './diagnosis.ts';
import * as documents from './documents.ts';
import { createGenerations, type GenerationReport } from './generations.ts';
import { runStore } from './run-store.ts';
import { incoming, readParams } from './incoming.ts';
import { changeParams, documentParams, openParams, positionParams, rangeParams } from './params.ts';
import { answerJobs } from './jobs.ts';
import { answerModels } from './models.ts';
import { answerServing } from './serving.ts';
import { createRuns, type Runs } from './runs.ts';
import { createWritten } from './written.ts';
import { createStatus } from './status.ts';

const defaultOptions: protocol.ServerOptions = {
  runs: null,
  resumeRuns: false,
  shippedModel: null,
  runtime: `Node ${process.version}`,
  display: { codeLens: true, inlayHints: true, lineFigures: false, hover: true, semanticTokens: true },
};

/** Serves one client. The answer lets runs save and ends every job; calling it twice is harmless. */
export function serve(connection: Connection, engine: Engine): () => Promise<void> {
  const open = new Map<string, documents.OpenDocument>();
  const notify = <Params>({ method }: protocol.Notification<Params>, params: Params): void =>
    void connection.sendNotification(method, params);
  const status = createStatus((now) => notify(protocol.statusChanged, now));
  const generations = createGenerations(engine);
  const written = createWritten();
  let options = defaultOptions;
  let display = defaultOptions.display;
  let runs: Runs | null = null;
  let loaded: Promise<void> | undefined;
  let canRefresh = false;
  let dynamicTokens = false;

  /** The runs, once those on record are read. */
  const knownRuns = async (): Promise<Runs> => {
    if (!runs) throw new ResponseError(ErrorCodes.ServerNotInitialized, 'The server is not initialised.');
    await loaded;
    return runs;
  };

  /** Asks the editor to request lenses and the like again: positions changed without an edit. */
  const refresh = (): void => {
    if (!canRefresh) return;
    void connection.languages.semanticTokens.refresh();
    void connection.languages.inlayHint.refresh();
    void connection.sendRequest('workspace/codeLens/refresh');
  };

  const set = (document: documents.OpenDocument): void => {
    open.set(document.document.uri, document);
    if (document.document.languageId !== documents.TRACE_LANGUAGE) return;
    const { problem } = document;
    const line = problem?.line ?? 0;
    const range = { start: { line, character: 0 }, end: { line: line + 1, character: 0 } };
    void connection.sendDiagnostics({
      uri: document.document.uri,
      diagnostics: problem ? [{ range, message: problem.message, source: 'Early Exit', severity: 1 }] : [],
    });
  };

  connection.onInitialize((params: InitializeParams): InitializeResult => {
    const given = readParams('initializationOptions', protocol.serverOptions, params.initializationOptions ?? {});
    display = { ...defaultOptions.display, ...given.display };
    options = { ...defaultOptions, ...given, display };
    const { workspace, textDocument } = params.capabilities;
    canRefresh = workspace?.codeLens?.refreshSupport ?? false;
    dynamicTokens = textDocument?.semanticTokens?.dynamicRegistration ?? false;
    runs = createRuns({
      engine,
      store: options.runs === null ? null : runStore(options.runs),
      reported: (event) => {
        status.runReported(event);
        notify(protocol.runReported, event);
      },
      changed: (run) => {
        status.runChanged(run);
        notify(protocol.runChanged, run);
      },
      warn: (message) => connection.console.warn(message),
    });
    const tokens = { legend: { tokenTypes: annotations.tokenTypes, tokenModifiers: [] }, full: true };
    return {
      serverInfo: { name: 'early-exit' },
      capabilities: {
        textDocumentSync: { openClose: true, change: TextDocumentSyncKind.Incremental },
        codeLensProvider: { resolveProvider: false },
        hoverProvider: true,
        inlayHintProvider: true,
        documentSymbolProvider: { label: 'Early Exit' },
        // An editor accepts one provider of semantic tokens per document, so ours is registered only for trace files, if the editor can
        // restrict it.
        ...(!dynamicTokens && { semanticTokensProvider: tokens }),
      },
    };
  });

  connection.onInitialized(() => {
    if (dynamicTokens) {
      void connection.client.register(SemanticTokensRegistrationType.type, {
        documentSelector: [{ language: documents.TRACE_LANGUAGE }],
        legend: { tokenTypes: annotations.tokenTypes, tokenModifiers: [] },
        full: true,
      });
    }
    loaded = runs
      ?.load(options.resumeRuns)
      .catch((error: unknown) => connection.console.error(`Runs cannot be read: ${describeError(error)}`));
  });

  const { answer, listen } = incoming(connection);

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

  answer(protocol.startRun, async ({ title, options: given, folder }) =>
    (await knownRuns()).start(title, given, folder),
  );
  answer(protocol.stopRun, async ({ id }) => (await knownRuns()).stop(id));
  answer(protocol.pauseRun, async ({ id }) => (await knownRuns()).pause(id));
  answer(protocol.resumeRun, async ({ id }) => (await knownRuns()).resume(id));
  answer(protocol.listRuns, async () => (await knownRuns()).list());
  answer(protocol.readRun, async ({ id, from }) => (await knownRuns()).read(id, from));
  answer(protocol.generate, (params, token) =>
    status.during('generating', async () => {
      const stopped = new AbortController();
      token.onCancellationRequested(() => stopped.abort());
      const { generation, uri = '' } = params;
      let isEmpty = true;
      written.begin(params, open.get(uri)?.texts.find(({ id }) => id === generation)?.trace);
      const report: GenerationReport = {
        ready: (ready) => {
          status.ready(ready);
          written.ready(generation, ready);
          notify(protocol.generationReady, { generation, ready });
        },
        token: (token) => {
          isEmpty = false;
          written.received(generation, token);
          notify(protocol.tokensGenerated, { generation, tokens: [token] });
        },
        warning: (message) => connection.console.warn(message),
      };
      const result = await generations.generate(params, report, stopped.signal);
      if (!isEmpty) status.written('generation', result.tokensPerSecond);
      return result;
    }),
  );
  answer(protocol.complete, async (params, token) => {
    const stopped = new AbortController();
    token.onCancellationRequested(() => stopped.abort());
    const warning = (message: string): void => connection.console.warn(message);
    const started = performance.now();
    const result = await complete(engine, params, { ready: (event) => status.ready(event), warning }, stopped.signal);
    const tokens = result.suggestions.reduce((sum, trace) => sum + trace.tokens.length, 0);
    if (tokens > 0) status.written('completion', (1000 * tokens) / (performance.now() - started));
    return result;
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
  answer(protocol.listExits, ({ folders }) => findExits(folders));
  answer(protocol.listStudies, ({ folders }) => findStudies(folders));
  answer(protocol.listModels, ({ folders }) => findModels(options.shippedModel, folders));
  const answering = { answer, notify, warn: (message: string) => connection.console.warn(message) };
  answerModels(answering);
  const stopServing = answerServing(answering, engine);
  answer(protocol.readStatus, () => status.now());
  answerDoctor(answering, engine, () => `${options.runtime}, ${process.platform} ${process.arch}`);
  answerJobs(answering, engine);
  listen(protocol.displayChanged, (changed) => {
    display = { ...display, ...changed };
    refresh();
  });

  const dispose = async (): Promise<void> => {
    await Promise.all([runs?.dispose(), engine.dispose(), stopServing()]);
  };
  connection.onShutdown(dispose);
  return dispose;
}
