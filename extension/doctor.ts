/** The doctor's report in a view of its own: read-only, nothing to save, made anew each time. */
import * as vscode from 'vscode';
import * as protocol from '../protocol/server.ts';
import type { Backend } from './backend.ts';

const SCHEME = 'early-exit-doctor';

export interface Doctor {
  show(): Promise<void>;
}

export function createDoctor(backend: Backend, subscriptions: vscode.Disposable[]): Doctor {
  const uri = vscode.Uri.from({ scheme: SCHEME, path: `/${vscode.l10n.t('Early Exit Doctor')}.md` });
  const changed = new vscode.EventEmitter<vscode.Uri>();
  let report = '';
  subscriptions.push(
    changed,
    vscode.workspace.registerTextDocumentContentProvider(SCHEME, {
      onDidChange: changed.event,
      provideTextDocumentContent: () => report,
    }),
  );
  return {
    async show() {
      const title = vscode.l10n.t('Early Exit looks at what this machine offers …');
      const looking = { location: vscode.ProgressLocation.Window, title };
      ({ report } = await vscode.window.withProgress(looking, () => backend.send(protocol.doctor, {})));
      changed.fire(uri);
      await vscode.commands.executeCommand('markdown.showPreview', uri);
    },
  };
}
