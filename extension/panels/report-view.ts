/** Markdown in a view of its own: read-only, nothing to save, made anew each time. */
import * as vscode from 'vscode';

const SCHEME = 'early-exit-report';

/** Answers how to show a text under a name. */
export function createReportView(subscriptions: vscode.Disposable[]): (name: string, text: string) => Promise<void> {
  const reports = new Map<string, string>();
  const changed = new vscode.EventEmitter<vscode.Uri>();
  subscriptions.push(
    changed,
    vscode.workspace.registerTextDocumentContentProvider(SCHEME, {
      onDidChange: changed.event,
      provideTextDocumentContent: (uri) => reports.get(uri.path) ?? '',
    }),
  );
  return async (name, text) => {
    const uri = vscode.Uri.from({ scheme: SCHEME, path: `/${name}.md` });
    reports.set(uri.path, text);
    changed.fire(uri);
    await vscode.commands.executeCommand('markdown.showPreview', uri);
  };
}
