/**
 * Generates into an editor: streams tokens into the document as one step of undo, keeps the trace and its colours while the user edits
 * around it, and tells the server the positions of tokens.
 */
import * as vscode from 'vscode';
import type { ChatTurn } from '../protocol/chat-turns.ts';
import type { Gap } from '../protocol/completion.ts';
import { emptyTrace, type Trace } from '../protocol/exittrace.ts';
import * as protocol from '../protocol/server.ts';
import type { GenerateResult, RecipeOptions } from '../protocol/server.ts';
import type { ExitOpinion, TokenRecord } from '../protocol/trace.ts';
import type { Backend } from './backend.ts';
import { generateInFolder } from './folder-paths.ts';
import { workspaceFolders } from './folders.ts';
import { textOf, type GeneratedText } from './generated-text.ts';
import { beginInsertion, type Insertion } from './insertion.ts';
import { createKeptTexts } from './kept-texts.ts';
import { createTokenStreams, readTokens, type TokenReader } from './token-streams.ts';

export interface Generations {
  /**
   * Streams into an editor at its cursor, or as the end of a generation that is there (`continued`, its id). `overrides`: the options that
   * are not from the settings. Resolves when all is inserted; null if the text was edited meanwhile.
   */
  intoEditor(
    editor: vscode.TextEditor,
    source: { readonly prompt: string; readonly gap?: Gap },
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
  /** Ties a trace to text that is in a document already. */
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

/**
 * Behind each edit the editor is left alone for this many times as long as the edit took: where a token's edit takes longer than the token,
 * laying them out one by one would take the processors from the model.
 */
const IDLE_SHARE = 3;
/** How often a piece is inserted anew that VS Code refused, as it does if the document has changed meanwhile. */
const MOST_TRIES = 8;
/** Candidates of every exit that the hover and the details show for a token. */
const CANDIDATES = 4;

export function createGenerations(backend: Backend, subscriptions: vscode.Disposable[]): Generations {
  const finished = new vscode.EventEmitter<void>();
  const kept = createKeptTexts(subscriptions);
  const streams = createTokenStreams(backend, subscriptions);
  let count = 0;
  /** Texts into which tokens are being inserted, and what exits predicted for texts that had not all their tokens when it came. */
  const growing = new Set<string>();
  const waiting = new Map<string, { from: number; opinions: ExitOpinion[][] }>();
  const newId = (): string => `${Date.now().toString(36)}-${count++}`;

  /** Tells the server where a text is. */
  const tie = ({ id, uri, span, trace }: GeneratedText): Promise<unknown> =>
    backend.send(protocol.attachTrace, { generation: id, uri, offset: span.start, trace });

  /** A server that was started anew knows no generations. */
  const reattach = async (): Promise<void> => {
    for (const generated of kept.list()) await tie(generated);
  };
  subscriptions.push(finished);
  subscriptions.push(backend.onReady(() => void reattach()));

  const attach: Generations['attach'] = async (document, offset, trace) => {
    const lineEnd = lineEndOf(document);
    const span = { start: offset, end: offset + textOf(trace.tokens, lineEnd).length };
    const generated = { id: newId(), uri: document.uri.toString(), lineEnd, span, trace };
    kept.set(generated);
    kept.changed();
    await tie(generated);
  };

  /** Makes a generation that a save has split one step of undo, and ties its trace to it again. */
  const joinSteps = async (id: string, insertion: Insertion): Promise<void> => {
    const whole = kept.get(id);
    if (!whole || !(await insertion.join())) return;
    kept.set(whole);
    kept.changed();
    backend.notify(protocol.detachTrace, { generation: id });
    await tie(whole);
  };

  /** Inserts a piece at the end of a text; tried again if another edit of the document came first. Throws if the document takes no edits. */
  const insertPiece = async (id: string, piece: string, isLast: boolean, insertion: Insertion): Promise<void> => {
    if (piece === '') return;
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const before = kept.get(id);
      if (!before) return;
      const insert = (): Promise<boolean> => insertion.next(before.span.end, piece, isLast);
      const isTaken = await kept.growing(id, piece, insert);
      const after = kept.get(id);
      if (!after || lengthOf(after) > lengthOf(before)) return;
      if (isTaken) break;
    }
    throw new Error(vscode.l10n.t('The editor takes no text: the file may be read-only.'));
  };

  /** Inserts tokens at the end of a text as they come; ends early once the text was edited. */
  const insertAll = async (id: string, reader: TokenReader, insertion: Insertion): Promise<void> => {
    let [begun, pause] = [0, 0];
    for (let next = await reader.next(0); next !== null; next = await reader.next(pause)) {
      begun = performance.now();
      const { tokens, isLast } = next;
      const generated = kept.get(id);
      if (!generated) return;
      await insertPiece(id, textOf(tokens, generated.lineEnd), isLast, insertion);
      const grown = kept.get(id);
      if (!grown) return;
      kept.set({ ...grown, trace: { ...grown.trace, tokens: [...grown.trace.tokens, ...tokens] } });
      kept.changed();
      await backend.send(protocol.placeTokens, { generation: id, offset: grown.span.start, count: tokens.length });
      pause = IDLE_SHARE * (performance.now() - begun);
    }
  };

  /** Adds what every exit predicted to a text that is whole, unless it continues already or is gone. */
  const explain = async (id: string): Promise<void> => {
    const explained = waiting.get(id);
    const generated = kept.get(id);
    if (!explained || growing.has(id)) return;
    waiting.delete(id);
    if (!generated) return;
    const tokens = generated.trace.tokens.map((token, i) => {
      const opinions = explained.opinions[i - explained.from];
      return opinions ? { ...token, opinions } : token;
    });
    const whole = { ...generated, trace: { ...generated.trace, tokens } };
    kept.set(whole);
    kept.changed();
    backend.notify(protocol.detachTrace, { generation: id });
    await tie(whole);
  };
  subscriptions.push(
    backend.listen(protocol.tokensExplained, ({ generation, ...explained }) => {
      waiting.set(generation, explained);
      void explain(generation);
    }),
  );

  const intoEditor: Generations['intoEditor'] = async (editor, source, options, token, more = {}) => {
    const { continued = null, overrides = {} } = more;
    const { document } = editor;
    const known = continued === null ? undefined : kept.get(continued);
    const id = known?.id ?? newId();
    const uri = document.uri.toString();
    const start = document.offsetAt(editor.selection.end);
    const trace = emptyTrace({ prompt: source.prompt });
    const own = { id, uri, lineEnd: lineEndOf(document), span: { start, end: start }, trace, overrides };
    kept.set(known ? { ...known, trace: { ...known.trace, stop: null } } : own);
    const before = known?.trace.tokens.length ?? 0;
    const insertion = beginInsertion(document, start);
    // Read with each token, they would take every token through all layers.
    const { candidates = CANDIDATES, ...written } = options;
    const explained = Number(candidates);
    const params = { generation: id, uri, ...source, options: inTrustedFolder(written, document.uri), explained };
    const ready = (head: Partial<Trace>): void => {
      const generated = kept.get(id);
      if (generated) kept.set({ ...generated, trace: { ...generated.trace, ...head } });
    };
    const reader = readTokens((take, stop) => {
      const tokens = (some: readonly TokenRecord[]): void =>
        take(some.map((each) => ({ ...each, index: each.index + before })));
      return streams.generate(params, { ready, tokens }, stop);
    }, token);
    growing.add(id);
    try {
      await insertAll(id, reader, insertion);
      const { result, failure } = await reader.end();
      await joinSteps(id, insertion);
      const generated = kept.get(id);
      if (failure) throw failure;
      if (!generated) backend.notify(protocol.detachTrace, { generation: id });
      if (!generated || result === null) return null;
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
      growing.delete(id);
      await reader.end();
      reader.dispose();
      insertion.dispose();
      kept.changed();
      await explain(id);
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
      for (const { id } of kept.list(uri.toString())) {
        kept.delete(id);
        backend.notify(protocol.detachTrace, { generation: id });
      }
      kept.changed();
    },
    onChange: kept.onChange,
    onFinished: finished.event,
  };
}

const lengthOf = ({ span }: GeneratedText): number => span.end - span.start;

const lineEndOf = ({ eol }: vscode.TextDocument): string => (eol === vscode.EndOfLine.CRLF ? '\r\n' : '\n');

/** Options of a generation, with paths of the document's folder, else of the first one. */
export const inTrustedFolder = (options: RecipeOptions, uri?: vscode.Uri): RecipeOptions =>
  generateInFolder(options, trustedFolders(uri));

/** None if the folders are not trusted: they cannot put a model of their own in the place of the named one. */
function trustedFolders(uri?: vscode.Uri): readonly string[] {
  if (!vscode.workspace.isTrusted) return [];
  const own = uri && vscode.workspace.getWorkspaceFolder(uri)?.uri;
  const [first] = workspaceFolders();
  return [...(own?.scheme === 'file' ? [own.fsPath] : []), ...(first === undefined ? [] : [first])];
}
