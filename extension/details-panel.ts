/** The details of a trace, token by token, beside the editor. */
import * as vscode from 'vscode';
import { serialiseTrace, type Trace } from '../protocol/exittrace.ts';
import { readViewMessage, type HostMessage } from '../protocol/webview.ts';
import type { Backend } from './backend.ts';
import { tokenSpan } from './generated-text.ts';
import type { Generations } from './generations.ts';
import { panelIcon, translations, webviewOptions, webviewPage } from './webview-page.ts';

export interface DetailsPanel {
  /** Shows a trace with one of its tokens in front. `generation` ties it to its text in an editor. */
  show(trace: Trace, title: string, token: number, generation: string | null): void;
  /** The panel shows a trace. */
  readonly onShown: vscode.Event<void>;
  dispose(): void;
}

export function createDetailsPanel(
  context: vscode.ExtensionContext,
  backend: Backend,
  generations: Generations,
): DetailsPanel {
  let panel: vscode.WebviewPanel | null = null;
  let isReady = false;
  let shown: Extract<HostMessage, { type: 'trace' }> | null = null;
  let tiedTo: string | null = null;
  const onShown = new vscode.EventEmitter<void>();

  const post = (message: HostMessage): void => void panel?.webview.postMessage(message);

  const reveal = async (token: number): Promise<void> => {
    const generated = tiedTo === null ? undefined : generations.find(tiedTo);
    if (!generated) return;
    const document = await vscode.workspace.openTextDocument(vscode.Uri.parse(generated.uri));
    const { start, end } = tokenSpan(generated, token);
    const visible = vscode.window.visibleTextEditors.find((editor) => editor.document === document);
    const selection = new vscode.Range(document.positionAt(start), document.positionAt(end));
    await vscode.window.showTextDocument(document, {
      selection,
      viewColumn: visible?.viewColumn ?? vscode.ViewColumn.One,
    });
  };

  const save = async (trace: Trace): Promise<void> => {
    const document = await vscode.workspace.openTextDocument({ language: 'exittrace', content: serialiseTrace(trace) });
    await vscode.window.showTextDocument(document);
  };

  const open = (): vscode.WebviewPanel => {
    const opened = vscode.window.createWebviewPanel(
      'earlyExit.details',
      vscode.l10n.t('Trace Details'),
      { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true },
      webviewOptions(context.extensionUri),
    );
    opened.iconPath = panelIcon(context.extensionUri);
    opened.webview.onDidReceiveMessage((value: unknown) => {
      const message = readViewMessage(value);
      if (message?.type === 'ready') {
        isReady = true;
        post({ type: 'texts', texts: translations() });
        if (shown) post(shown);
        onShown.fire();
      } else if (message?.type === 'reveal') void reveal(message.token);
      else if (message?.type === 'open' && shown) void save(shown.trace);
      else if (message?.type === 'failed') backend.log.error(`Trace Details: ${message.message}`);
    });
    opened.onDidDispose(() => {
      panel = null;
      isReady = false;
    });
    const title = vscode.l10n.t('Trace Details');
    opened.webview.html = webviewPage(opened.webview, context.extensionUri, 'details', title);
    return opened;
  };

  // What exits predicted comes a moment behind the text.
  const following = generations.onChange(() => {
    const trace = tiedTo === null ? undefined : generations.find(tiedTo)?.trace;
    if (!panel || !isReady || !shown || !trace) return;
    if (isExplained(shown.trace) || !isExplained(trace)) return;
    shown = { ...shown, trace };
    post({ ...shown, token: null });
  });

  return {
    show(trace, title, token, generation) {
      shown = { type: 'trace', title, trace, token };
      tiedTo = generation;
      if (panel) panel.reveal(undefined, true);
      else panel = open();
      if (isReady) post(shown);
    },
    onShown: onShown.event,
    dispose: () => {
      panel?.dispose();
      following.dispose();
      onShown.dispose();
    },
  };
}

const isExplained = ({ tokens }: Trace): boolean => tokens.some(({ opinions }) => opinions !== undefined);
