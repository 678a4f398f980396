/**
 * Generates into an editor: streams tokens into the document as one step of undo, keeps the trace and its colours while the user edits
 * around it, and tells the server the positions of tokens.
 */
import * as vscode from 'vscode';
import type { ChatTurn } from '../protocol/chat-turns.ts';
import type { Gap } from '../protocol/completion.ts';
import { emptyTrace, headOf, type Trace } from '../protocol/exittrace.ts';
import * as protocol from '../protocol/server.ts';
import type { GenerateResult, RecipeOptions } from '../protocol/server.ts';
import type { TokenRecord } from '../protocol/trace.ts';
import type { Backend } from './backend.ts';
import { generateInFolder } from './folder-paths.ts';
import { workspaceFolders } from './folders.ts';
import { afterEdit, textOf, type GeneratedText } from './generated-text.ts';
import { beginInsertion, type Insertion } from './insertion.ts';

export interface Generations {
  /**
   * Streams into an editor at its cursor, or as the end of a generation that is there (`continued`, its id). Resolves when all is
   * inserted; null if the text was edited meanwhile.
   */
  intoEditor(
    editor: vscode.TextEditor,
    source: { readonly prompt: string; readonly gap?: Gap },
    options: RecipeOptions,
    token: vscode.CancellationToken,
    continued?: string | null,
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
  clear(uri: vscode.Uri): void;
  readonly onChange: vscode.Event<void>;
  /** Text was generated into an editor to its end. */
  readonly onFinished: vscode.Event<void>;
}

/** Options that the editor adds to every generation: candidates of all exits, for the hover. */
const CANDIDATES = 4;

export function createGenerations(backend: Backend, subscriptions: vscode.Disposable[]): Generations {
  const changed = new vscode.EventEmitter<void>();
  const finished = new vscode.EventEmitter<void>();
  const kept = new Map<string, GeneratedText>();
  /** Text that a generation is inserting right now, by its id. */
  const inserting = new Map<string, string>();
  const streams = new Map<string, { ready: (head: Partial<Trace>) => void; tokens: (tokens: TokenRecord[]) => void }>();
  let count = 0;

  const newId = (): string => `${Date.now().toString(36)}-${count++}`;
  const tell = (): void => changed.fire();

  subscriptions.push(
    changed,
    finished,
    backend.listen(protocol.generationReady, ({ generation, ready }) => {
      streams.get(generation)?.ready(headOf(ready));
    }),
    backend.listen(protocol.tokensGenerated, ({ generation, tokens }) => streams.get(generation)?.tokens(tokens)),
    backend.onReady(() => void reattach()),
    vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
      const uri = document.uri.toString();
      for (const generated of kept.values()) {
        if (generated.uri !== uri) continue;
        let now: GeneratedText | null = generated;
        for (const { rangeOffset: offset, rangeLength: removed, text } of contentChanges) {
          const edit = { offset, removed, inserted: text.length, text };
          now &&= afterEdit(now, edit, inserting.get(generated.id) ?? null);
        }
        if (now === null) kept.delete(generated.id);
        else kept.set(now.id, now);
      }
      if (contentChanges.length > 0) tell();
    }),
    vscode.workspace.onDidCloseTextDocument(({ uri }) => forget(uri)),
  );

  const forget = (uri: vscode.Uri): void => {
    for (const { id, uri: own } of [...kept.values()]) if (own === uri.toString()) kept.delete(id);
    tell();
  };

  /** A server that was started anew knows no generations. */
  const reattach = async (): Promise<void> => {
    for (const { id, uri, span, trace } of kept.values()) {
      await backend.send(protocol.attachTrace, { generation: id, uri, offset: span.start, trace });
    }
  };

  const request: Generations['generate'] = async (prompt, options, onToken, token, turns) => {
    const generation = newId();
    const received: TokenRecord[] = [];
    const tokens = (some: TokenRecord[]): void => {
      received.push(...some);
      some.forEach(onToken);
    };
    streams.set(generation, { ready: () => {}, tokens });
    try {
      const params = { generation, prompt, options: requested(options), ...(turns && { turns }) };
      const end = await backend.send(protocol.generate, params, token);
      return { ...end, trace: { ...end.trace, tokens: received } };
    } finally {
      streams.delete(generation);
    }
  };

  const attach: Generations['attach'] = async (document, offset, trace) => {
    const id = newId();
    const lineEnd = document.eol === vscode.EndOfLine.CRLF ? '\r\n' : '\n';
    const span = { start: offset, end: offset + textOf(trace.tokens, lineEnd).length };
    const uri = document.uri.toString();
    kept.set(id, { id, uri, lineEnd, span, trace });
    tell();
    await backend.send(protocol.attachTrace, { generation: id, uri, offset, trace });
  };

  /** Makes a generation that a save has split one step of undo, and ties its trace to it again. */
  const joinSteps = async (id: string, insertion: Insertion): Promise<void> => {
    const whole = kept.get(id);
    if (!whole || !(await insertion.join())) return;
    kept.set(id, whole);
    tell();
    backend.notify(protocol.detachTrace, { generation: id });
    const { uri, span, trace } = whole;
    await backend.send(protocol.attachTrace, { generation: id, uri, offset: span.start, trace });
  };

  const intoEditor: Generations['intoEditor'] = async (editor, source, options, token, continued = null) => {
    const { document } = editor;
    const known = continued === null ? undefined : kept.get(continued);
    const id = known?.id ?? newId();
    const uri = document.uri.toString();
    const start = document.offsetAt(editor.selection.end);
    const lineEnd = document.eol === vscode.EndOfLine.CRLF ? '\r\n' : '\n';
    const own = { id, uri, lineEnd, span: { start, end: start }, trace: emptyTrace({ prompt: source.prompt }) };
    kept.set(id, known ? { ...known, trace: { ...known.trace, stop: null } } : own);
    const before = known?.trace.tokens.length ?? 0;
    const insertion = beginInsertion(document, start);

    const stopped = new vscode.CancellationTokenSource();
    const cancelled = token.onCancellationRequested(() => stopped.cancel());
    const waiting: TokenRecord[] = [];
    const received: TokenRecord[] = [];
    let wake = (): void => {};
    let result: GenerateResult | null = null;
    const failures: Error[] = [];
    let ended = false;
    streams.set(id, {
      ready: (head) => {
        const generated = kept.get(id);
        if (generated) kept.set(id, { ...generated, trace: { ...generated.trace, ...head } });
      },
      tokens: (tokens) => {
        received.push(...tokens);
        waiting.push(...tokens.map((each) => ({ ...each, index: each.index + before })));
        wake();
      },
    });
    const answer = backend
      .send(protocol.generate, { generation: id, uri, ...source, options: requested(options) }, stopped.token)
      .then((end) => (result = { ...end, trace: { ...end.trace, tokens: received } }))
      .catch((error: unknown) => void failures.push(error instanceof Error ? error : new Error(String(error))))
      .finally(() => {
        ended = true;
        wake();
      });

    try {
      for (;;) {
        // The last token waits for the end: its edit is the one that closes the step of undo.
        const ready = ended ? waiting.length : waiting.length - 1;
        if (ready <= 0) {
          if (ended) break;
          await new Promise<void>((resolve) => (wake = resolve));
          continue;
        }
        const tokens = waiting.splice(0, ready);
        const text = textOf(tokens, lineEnd);
        const generated = kept.get(id);
        if (!generated) break; // edited by the user
        inserting.set(id, text);
        const inserted = text === '' || (await insertion.next(generated.span.end, text, ended));
        inserting.delete(id);
        const grown = kept.get(id);
        if (!inserted || !grown) break;
        const trace = { ...grown.trace, tokens: [...grown.trace.tokens, ...tokens] };
        kept.set(id, { ...grown, trace });
        tell();
        const { length: count } = tokens;
        await backend.send(protocol.placeTokens, { generation: id, offset: grown.span.start, count });
      }
      if (!ended) stopped.cancel();
      await answer;
      await joinSteps(id, insertion);
      const generated = kept.get(id);
      const [failure] = failures;
      if (failure) {
        if (generated?.trace.tokens.length === 0) kept.delete(id);
        throw failure;
      }
      if (!generated) backend.notify(protocol.detachTrace, { generation: id });
      if (!generated || result === null) return null;
      const { trace: head } = result as GenerateResult;
      const trace = { ...head, prompt: generated.trace.prompt, tokens: generated.trace.tokens };
      kept.set(id, { ...generated, trace });
      tell();
      await backend.send(protocol.attachTrace, {
        generation: id,
        uri,
        offset: generated.span.start,
        trace: { ...trace, tokens: [] },
      });
      finished.fire();
      return result;
    } finally {
      cancelled.dispose();
      stopped.dispose();
      insertion.dispose();
      streams.delete(id);
      tell();
    }
  };

  return {
    intoEditor,
    generate: request,
    attach,
    in: (uri) => [...kept.values()].filter((generated) => generated.uri === uri.toString()),
    find: (id) => kept.get(id),
    clear(uri) {
      for (const { id, uri: own } of [...kept.values()]) {
        if (own !== uri.toString()) continue;
        kept.delete(id);
        backend.notify(protocol.detachTrace, { generation: id });
      }
      tell();
    },
    onChange: changed.event,
    onFinished: finished.event,
  };
}

/** What the server is asked for: every exit's candidates, and paths of the folder. */
const requested = (options: RecipeOptions): RecipeOptions => inTrustedFolder({ candidates: CANDIDATES, ...options });

/** Options of a generation, with paths of the folder if it is trusted. */
export const inTrustedFolder = (options: RecipeOptions): RecipeOptions => generateInFolder(options, trustedFolder());

/** A folder that is not trusted lends no model to a name that means another. */
const trustedFolder = (): string | undefined => (vscode.workspace.isTrusted ? workspaceFolders()[0] : undefined);
