/**
 * The language server: a connection, an engine, and the handlers of requests. It runs on the main thread and never computes; jobs run in
 * the engine's threads. Any LSP editor can use it; requests beyond LSP are in protocol/server.ts.
 */
import {
  SemanticTokensRegistrationType,
  TextDocumentSyncKind,
  type Connection,
  type InitializeParams,
  type InitializeResult,
} from 'vscode-languageserver/node';
import * as protocol from '../../protocol/server.ts';
import { findExits, findModels, findStudies } from '../recipes/at-hand/catalogue.ts';
import type { Engine } from '../worker/engine.ts';
import * as annotations from './annotations.ts';
import { answerDoctor } from './diagnosis.ts';
import { TRACE_LANGUAGE } from './documents.ts';
import { incoming, readParams } from './incoming.ts';
import { answerJobs } from './jobs.ts';
import { answerModels } from './models.ts';
import { tell } from './outgoing.ts';
import { answerRuns } from './runs/answers.ts';
import { answerServing } from './serving.ts';
import { answerDocuments } from './shown.ts';
import { createStatus } from './status.ts';
import { answerWriting } from './writing.ts';
import { createWritten } from './written.ts';

const defaultOptions: protocol.ServerOptions = {
  runs: null,
  resumeRuns: false,
  shippedModel: null,
  runtime: `Node ${process.version}`,
  display: { codeLens: true, inlayHints: true, lineFigures: false, hover: true, semanticTokens: true },
};

const semanticTokens = { legend: { tokenTypes: annotations.tokenTypes, tokenModifiers: [] }, full: true };

/** Serves one client. The answer lets runs save and ends every job; calling it twice is harmless. */
export function serve(connection: Connection, engine: Engine): () => Promise<void> {
  const notify = <Params>({ method }: protocol.Notification<Params>, params: Params): void =>
    tell(() => connection.sendNotification(method, params));
  const warn = (message: string): void => tell(() => connection.console.warn(message));
  const answering = { ...incoming(connection), notify, warn };
  const status = createStatus((now) => notify(protocol.statusChanged, now));
  let options = defaultOptions;
  let hasDynamicTokens = false;

  const written = createWritten();
  const documents = answerDocuments(answering, connection, written, options.display);
  const runs = answerRuns(answering, engine, status);
  answerWriting(answering, engine, status, { written, isOpen: documents.isOpen, traceOf: documents.traceOf });
  answerJobs(answering, engine);
  answerModels(answering);
  answering.answer(protocol.listExits, ({ folders }) => findExits(folders));
  answering.answer(protocol.listStudies, ({ folders }) => findStudies(folders));
  answering.answer(protocol.listModels, ({ folders }) => findModels(options.shippedModel, folders));
  const stopServing = answerServing(answering, engine);
  answering.answer(protocol.readStatus, () => status.now());
  answerDoctor(answering, engine, () => `${options.runtime}, ${process.platform} ${process.arch}`);

  connection.onInitialize((params: InitializeParams): InitializeResult => {
    const given = readParams('initializationOptions', protocol.serverOptions, params.initializationOptions ?? {});
    options = { ...defaultOptions, ...given, display: { ...defaultOptions.display, ...given.display } };
    const { workspace, textDocument } = params.capabilities;
    hasDynamicTokens = textDocument?.semanticTokens?.dynamicRegistration ?? false;
    documents.configure(options.display, workspace ?? {});
    runs.open(options.runs);
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
        ...(!hasDynamicTokens && { semanticTokensProvider: semanticTokens }),
      },
    };
  });

  connection.onInitialized(() => {
    const documentSelector = [{ language: TRACE_LANGUAGE }];
    if (hasDynamicTokens)
      tell(() =>
        connection.client.register(SemanticTokensRegistrationType.type, { documentSelector, ...semanticTokens }),
      );
    runs.load(options.resumeRuns);
  });

  const dispose = async (): Promise<void> => {
    await Promise.all([runs.dispose(), engine.dispose(), stopServing()]);
  };
  connection.onShutdown(dispose);
  return dispose;
}
