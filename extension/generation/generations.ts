/**
 * Generates into an editor: streams tokens into the document as one step of undo, keeps the trace and its colours while the user edits
 * around it, and tells the server the positions of tokens.
 */
import * as vscode from 'vscode';
import type { ChatTurn } from '../../protocol/chat-turns.ts';
import type { Gap } from '../../protocol/completion.ts';
import { emptyTrace, type Trace } from '../../protocol/exittrace.ts';
import * as protocol from '../../protocol/server.ts';
import type { GenerateResult, RecipeOptions } from '../../protocol/server.ts';
import type { TokenRecord } from '../../protocol/trace.ts';
import type { Backend } from '../backend/backend.ts';
import { createExplanations } from './explanations.ts';
import { inTrustedFolder } from '../settings/folders.ts';
import { textOf, type GeneratedText } from './generated-text.ts';
import { growText } from './growing-text.ts';
import { beginInsertion } from './insertion.ts';
import { createKeptTexts } from './kept-texts.ts';
import { createTokenStreams, readTokens } from './token-streams.ts';

export interface Source {
  /** Offset of the new text in its document. */
  readonly at: number;
  readonly prompt: string;
  readonly gap?: Gap;
}

export interface Generations {
  /**
   * Streams into an editor at an offset, or as the end of a generation that is there (`continued`, its id). `overrides`: the options with
   * which the text goes on, whatever the settings are then. Resolves when all is inserted; null if nothing was, or the text was edited meanwhile.
   */
  intoEditor(
    editor: vscode.TextEditor,
    source: Source,
    options: RecipeOptions,
    token: vscode.CancellationToken,
    more?: { readonly continued?: string | null; readonly overrides?: RecipeOptions },
  ): Promise<GenerateResult | null>;
  /** Generates without an editor. */
  generate(
    prompt: string,
    options: RecipeOptions,
    onToken: (token: TokenRecord) => void,
    token?: vscode.CancellationToken,
    turns?: ChatTurn[],
  ): Promise<GenerateResult>;
  /** Ties a trace to its text in a document, if it is there. */
  attach(document: vscode.TextDocument, offset: number, trace: Trace): Promise<void>;
  in(uri: vscode.Uri): readonly GeneratedText[];
  find(id: string): GeneratedText | undefined;
  /** The one that began last, of all documents. */
  latest(): GeneratedText | undefined;
  clear(uri: vscode.Uri): void;
  readonly onChange: vscode.Event<void>;
  /** Text was generated into an editor to its end. */
  readonly onFinished: vscode.Event<void>;
}

/** Candidates of every exit that the hover and the details show for a token. */
const CANDIDATES = 4;

export function createGenerations(backend: Backend, subscriptions: vscode.Disposable[]): Generations {
  const finished = new vscode.EventEmitter<void>();
  const kept = createKeptTexts(subscriptions);
  const streams = createTokenStreams(backend, subscriptions);
  let count = 0;
  const newId = (): string => `${Date.now().toString(36)}-${count++}`;

  /** Tells the server where a text is. */
  const tie = ({ id, uri, span, trace }: GeneratedText): Promise<unknown> =>
    backend.send(protocol.attachTrace, { generation: id, uri, offset: span.start, trace });
  const untie = (id: string): void => backend.notify(protocol.detachTrace, { generation: id });
  const forget = (id: string): void => {
    kept.delete(id);
    untie(id);
  };

  /** Tells a server that runs where texts are now, those that are still there; one that starts later is told all. */
  const retie = async (texts: readonly GeneratedText[]): Promise<void> => {
    for (const { id } of texts) {
      const generated = kept.get(id);
      if (generated === undefined || backend.state() !== 'running') continue;
      await tie(generated).catch((error: unknown) => backend.log.warn(`A trace is not shown: ${String(error)}`));
    }
  };

  /** Keeps a text and tells the server where it is, in the place of what both knew of it. */
  const replace = async (text: GeneratedText): Promise<void> => {
    kept.set(text);
    kept.changed();
    untie(text.id);
    await retie([text]);
  };
  const explanations = createExplanations(backend, kept, replace, subscriptions);

  subscriptions.push(finished);
  // A server that was started anew knows no generations.
  subscriptions.push(backend.onReady(() => void retie(kept.list())));
  subscriptions.push(
    kept.onMoved((texts) => {
      // The client hears of an edit after this listener, and must tell the server of it first.
      setTimeout(() => void retie(texts));
      kept.changed();
    }),
  );

  const attach: Generations['attach'] = async (document, offset, trace) => {
    const lineEnd = lineEndOf(document);
    const text = textOf(trace.tokens, lineEnd);
    const span = { start: offset, end: offset + text.length };
    if (document.getText().slice(span.start, span.end) !== text) return;
    const generated = { id: newId(), uri: document.uri.toString(), lineEnd, span, trace };
    kept.set(generated);
    kept.changed();
    await tie(generated);
  };

  const intoEditor: Generations['intoEditor'] = async (editor, source, options, token, more = {}) => {
    const { continued = null, overrides = {} } = more;
    const { document } = editor;
    const known = continued === null ? undefined : kept.get(continued);
    const id = known?.id ?? newId();
    const uri = document.uri.toString();
    const { at: start, ...asked } = source;
    const trace = emptyTrace({ prompt: asked.prompt });
    const own = { id, uri, lineEnd: lineEndOf(document), span: { start, end: start }, trace, overrides };
    kept.set(known ? { ...known, trace: { ...known.trace, stop: null } } : own);
    const before = known?.trace.tokens.length ?? 0;
    const insertion = beginInsertion(document, start);
    // Read with each token, they would take every token through all layers.
    const { candidates = CANDIDATES, ...written } = options;
    const explained = Number(candidates);
    const params = { generation: id, uri, ...asked, options: inTrustedFolder(written, document.uri), explained };
    const ready = (head: Partial<Trace>): void => {
      const generated = kept.get(id);
      if (generated) kept.set({ ...generated, trace: { ...generated.trace, ...head } });
    };
    const reader = readTokens((take, stop) => {
      const tokens = (some: readonly TokenRecord[]): void =>
        take(some.map((each) => ({ ...each, index: each.index + before })));
      return streams.generate(params, { ready, tokens }, stop);
    }, token);
    explanations.begin(id);
    try {
      await growText(id, reader, insertion, kept, backend);
      const { result, failure } = await reader.end();
      const split = kept.get(id);
      if (split && (await insertion.join())) await replace(split);
      const generated = kept.get(id);
      if (failure) throw failure;
      if (!generated) untie(id);
      if (!generated || result === null) return null;
      if (generated.trace.tokens.length === before) {
        if (before === 0) forget(id);
        vscode.window.setStatusBarMessage(vscode.l10n.t('The model ends its text here: nothing was written.'), 8_000);
        return null;
      }
      const whole = { ...result.trace, prompt: generated.trace.prompt, tokens: generated.trace.tokens };
      kept.set({ ...generated, trace: whole });
      kept.changed();
      // Its tokens are placed already.
      await tie({ ...generated, trace: { ...whole, tokens: [] } });
      finished.fire();
      return result;
    } catch (error) {
      if (kept.get(id)?.trace.tokens.length === 0) kept.delete(id);
      throw error;
    } finally {
      await reader.end();
      reader.dispose();
      insertion.dispose();
      kept.changed();
      await explanations.end(id);
    }
  };

  return {
    intoEditor,
    generate(prompt, options, onToken, token, turns) {
      const params = { generation: newId(), prompt, options: inTrustedFolder(options), ...(turns && { turns }) };
      return streams.generate(params, { tokens: (some) => some.forEach(onToken) }, token);
    },
    attach,
    in: (uri) => kept.list(uri.toString()),
    find: (id) => kept.get(id),
    latest: () => kept.list().at(-1),
    clear(uri) {
      for (const { id } of kept.list(uri.toString())) forget(id);
      kept.changed();
    },
    onChange: kept.onChange,
    onFinished: finished.event,
  };
}

const lineEndOf = ({ eol }: vscode.TextDocument): string => (eol === vscode.EndOfLine.CRLF ? '\r\n' : '\n');
