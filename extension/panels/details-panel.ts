/** The details of a trace, token by token, beside the editor. */
import * as vscode from 'vscode';
import { serialiseTrace, type Trace } from '../../protocol/exittrace.ts';
import { parseTrace } from '../../protocol/trace-reading.ts';
import type { HostMessage } from '../../protocol/webview.ts';
import type { Backend } from '../backend/backend.ts';
import { tokenSpan, type GeneratedText } from '../generation/generated-text.ts';
import type { Generations } from '../generation/generations.ts';
import { createViewPanel } from './view-panel.ts';

/** The generation whose text is in an editor, or the trace's own file. */
export type TraceOrigin = { readonly generation: string } | { readonly file: vscode.Uri };

export interface DetailsPanel {
  /** Shows a trace with one of its tokens in front. */
  show(trace: Trace, title: string, token: number, from: TraceOrigin): void;
  /** The panel shows a trace. */
  readonly onShown: vscode.Event<void>;
}

export function createDetailsPanel(
  context: vscode.ExtensionContext,
  backend: Backend,
  generations: Generations,
): DetailsPanel {
  let shown: Extract<HostMessage, { type: 'trace' }> | null = null;
  let origin: TraceOrigin | null = null;
  const generatedNow = (): GeneratedText | undefined =>
    origin && 'generation' in origin ? generations.find(origin.generation) : undefined;
  const onShown = new vscode.EventEmitter<void>();

  /** Selects the token only once: a page that is made anew, as when its tab is shown again, has a selection of its own. */
  const postShown = (): void => {
    if (!view.isReady || !shown) return;
    view.post(shown);
    shown = { ...shown, token: null };
  };

  const reveal = async (token: number): Promise<void> => {
    const generated = generatedNow();
    const uri = generated ? vscode.Uri.parse(generated.uri) : origin && 'file' in origin ? origin.file : null;
    if (!uri) {
      void vscode.window.showInformationMessage(
        vscode.l10n.t('The text was edited or closed since: this trace no longer has a place in an editor.'),
      );
      return;
    }
    const document = await vscode.workspace.openTextDocument(uri);
    const visible = vscode.window.visibleTextEditors.find((editor) => editor.document === document);
    await vscode.window.showTextDocument(document, {
      selection: rangeOf(document, generated, token),
      viewColumn: visible?.viewColumn ?? vscode.ViewColumn.One,
    });
  };

  const save = async (trace: Trace): Promise<void> => {
    const document = await vscode.workspace.openTextDocument({ language: 'exittrace', content: serialiseTrace(trace) });
    await vscode.window.showTextDocument(document);
  };

  const title = vscode.l10n.t('Trace Details');
  const spec = { name: 'details', title, column: vscode.ViewColumn.Beside, preserveFocus: true } as const;
  const view = createViewPanel(context, backend, spec, {
    ready: () => {
      postShown();
      onShown.fire();
    },
    reveal: ({ token }) => reveal(token),
    open: () => shown && save(shown.trace),
  });

  // What exits predicted comes a moment behind the text.
  const following = generations.onChange(() => {
    const trace = generatedNow()?.trace;
    if (!view.isOpen || !shown || !trace || explainedTokens(trace) <= explainedTokens(shown.trace)) return;
    shown = { ...shown, trace };
    postShown();
  });

  context.subscriptions.push(following, onShown);
  return {
    show(trace, name, token, from) {
      shown = { type: 'trace', title: name, trace, token };
      origin = from;
      // Before a hidden page is revealed: it is made anew, and asks for what it shows.
      postShown();
      view.show();
    },
    onShown: onShown.event,
  };
}

/** The text of a token; or its line in a trace file, which may have been edited since. */
function rangeOf(document: vscode.TextDocument, generated: GeneratedText | undefined, token: number): vscode.Range {
  if (generated) {
    const { start, end } = tokenSpan(generated, token);
    return new vscode.Range(document.positionAt(start), document.positionAt(end));
  }
  const { tokenLines } = parseTrace(document.getText(), document.fileName);
  return document.lineAt(tokenLines[token] ?? 0).range;
}

const explainedTokens = ({ tokens }: Trace): number => tokens.filter(({ opinions }) => opinions !== undefined).length;
