/**
 * The views of the webview bundle as panels, one of each: a page under a strict content-security policy with a nonce, its icon, its texts, and
 * messages both ways.
 */
import { randomBytes } from 'node:crypto';
import * as vscode from 'vscode';
import { readViewMessage, type HostMessage, type ViewMessage } from '../../protocol/webview.ts';
import type { Backend } from '../backend/backend.ts';
import { showFailure } from '../messages.ts';

type Received<Type extends ViewMessage['type']> = ViewMessage & { readonly type: Type };

/** What a view does about the messages that its page sends. A page that fails is logged in any case. */
export type Receivers = {
  readonly [Type in Exclude<ViewMessage['type'], 'failed'>]?: (message: Received<Type>) => unknown;
};

export interface ViewSpec {
  /** Of the view in the bundle. */
  readonly name: 'curves' | 'details' | 'doctor';
  readonly title: string;
  readonly column: vscode.ViewColumn;
  readonly preserveFocus?: boolean;
}

export interface ViewPanel {
  /** The panel is open, on the screen, and its page takes messages. A page that was hidden is made anew, and says `ready` once more. */
  readonly isReady: boolean;
  readonly isOpen: boolean;
  /** Opens the panel, or brings it to the front. */
  show(): void;
  /** A message to a page that is not ready is dropped. */
  post(message: HostMessage): void;
  /** Takes a panel that VS Code has restored. */
  adopt(restored: vscode.WebviewPanel): void;
}

export function createViewPanel(
  { extensionUri }: vscode.ExtensionContext,
  backend: Backend,
  { name, title, column, preserveFocus = false }: ViewSpec,
  receivers: Receivers,
): ViewPanel {
  let panel: vscode.WebviewPanel | null = null;
  let isReady = false;

  const receive = async (value: unknown): Promise<void> => {
    const message = readViewMessage(value);
    if (message === null) return backend.log.warn(`${title} sent something unknown: ${JSON.stringify(value)}`);
    if (message.type === 'failed') return backend.log.error(`${title}: ${message.message}`);
    if (message.type === 'ready') isReady = true;
    const receiver = receivers[message.type] as ((message: ViewMessage) => unknown) | undefined;
    await receiver?.(message);
  };

  const adopt = (adopted: vscode.WebviewPanel): void => {
    panel?.dispose();
    panel = adopted;
    isReady = false;
    adopted.webview.options = webviewOptions(extensionUri);
    adopted.iconPath = panelIcon(extensionUri);
    adopted.webview.onDidReceiveMessage((value: unknown) => {
      receive(value).catch((error: unknown) => showFailure({ backend }, error));
    });
    adopted.onDidChangeViewState(() => {
      if (panel === adopted && !adopted.visible) isReady = false;
    });
    adopted.onDidDispose(() => {
      if (panel !== adopted) return;
      panel = null;
      isReady = false;
    });
    adopted.webview.html = webviewPage(adopted.webview, extensionUri, name, title);
  };

  return {
    get isReady() {
      return isReady;
    },
    get isOpen() {
      return panel !== null;
    },
    show() {
      if (panel) return panel.reveal(undefined, preserveFocus);
      const where = { viewColumn: column, preserveFocus };
      adopt(vscode.window.createWebviewPanel(`earlyExit.${name}`, title, where, webviewOptions(extensionUri)));
    },
    post(message) {
      if (isReady) void panel?.webview.postMessage(message);
    },
    adopt,
  };
}

const webviewOptions = (extension: vscode.Uri): vscode.WebviewOptions => ({
  enableScripts: true,
  localResourceRoots: [vscode.Uri.joinPath(extension, 'dist', 'webview')],
});

/** `view` names the view of the webview bundle to mount. The page has its texts in the display language, by their English. */
function webviewPage(webview: vscode.Webview, extension: vscode.Uri, view: string, title: string): string {
  const nonce = randomBytes(18).toString('base64');
  const file = (name: string): string =>
    webview.asWebviewUri(vscode.Uri.joinPath(extension, 'dist', 'webview', name)).toString();
  // Styles that scripts set (the toolkit, the chart's canvas) need 'unsafe-inline'; scripts never do.
  const policy = [
    "default-src 'none'",
    `script-src 'nonce-${nonce}'`,
    `style-src ${webview.cspSource} 'unsafe-inline'`,
    `font-src ${webview.cspSource}`,
    `img-src ${webview.cspSource} data: blob:`,
  ].join('; ');
  return `<!doctype html>
<html lang="${vscode.env.language}">
  <head>
    <meta charset="utf-8" />
    <meta http-equiv="Content-Security-Policy" content="${policy}" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <link rel="stylesheet" href="${file('main.css')}" />
    <title>${title}</title>
  </head>
  <body data-view="${view}" data-texts="${attribute(JSON.stringify(translations()))}">
    <main></main>
    <script type="module" nonce="${nonce}" src="${file('main.js')}"></script>
  </body>
</html>`;
}

export const panelIcon = (extension: vscode.Uri): { light: vscode.Uri; dark: vscode.Uri } => ({
  light: vscode.Uri.joinPath(extension, 'extension', 'media', 'exittrace-light.svg'),
  dark: vscode.Uri.joinPath(extension, 'extension', 'media', 'exittrace-dark.svg'),
});

/** The bundle of the display language. */
const translations = (): Record<string, string> =>
  Object.fromEntries(
    Object.entries(vscode.l10n.bundle ?? {}).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );

const attribute = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;');
