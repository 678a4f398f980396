/** What every webview has: its page under a strict content-security policy with a nonce, its icon, its texts. */
import { randomBytes } from 'node:crypto';
import * as vscode from 'vscode';

export const webviewOptions = (extension: vscode.Uri): vscode.WebviewOptions => ({
  enableScripts: true,
  localResourceRoots: [vscode.Uri.joinPath(extension, 'dist', 'webview')],
});

/** `view` names the view of the webview bundle to mount. The page has its texts in the display language, by their English. */
export function webviewPage(webview: vscode.Webview, extension: vscode.Uri, view: string, title: string): string {
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
