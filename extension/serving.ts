/** The server for other programs: started and stopped by commands, its address in the status bar while it runs. */
import * as vscode from 'vscode';
import * as protocol from '../protocol/server.ts';
import type { App } from './app.ts';
import { commandId } from './commands.ts';
import { currentScope, inTrustedFolder } from './settings/folders.ts';
import { generateOptions, withoutGpu } from './generation/generating.ts';
import { recipeSettings } from './settings/settings.ts';
import { requireTrustToServe } from './settings/workspace-trust.ts';

export interface Serving {
  /** Null if the folder is not trusted, and if the loading was stopped. */
  start(): Promise<protocol.ServingState | null>;
  stop(): Promise<void>;
  isServing(): boolean;
}

export function createServing(app: App, subscriptions: vscode.Disposable[]): Serving {
  const { backend } = app;
  const item = vscode.window.createStatusBarItem('earlyExit.server', vscode.StatusBarAlignment.Right, 49);
  item.name = vscode.l10n.t('Early Exit Server');
  item.command = commandId('stopServer');
  let serving = false;
  const show = (state: protocol.ServingState | null): void => {
    serving = state !== null;
    void vscode.commands.executeCommand('setContext', 'earlyExit.serving', state !== null);
    if (state === null) return item.hide();
    item.text = `$(broadcast) ${state.url.replace('http://', '')}`;
    item.tooltip = vscode.l10n.t(
      '{0} is served at {1} to programs on this machine. Click to stop.',
      state.name,
      state.url,
    );
    item.show();
  };
  subscriptions.push(
    item,
    backend.listen(protocol.serverEnded, ({ problem }) => {
      show(null);
      if (problem !== null) void vscode.window.showErrorMessage(problem);
    }),
    // A backend that was started again serves nothing.
    backend.onState((state) => state !== 'running' && show(null)),
  );
  return {
    async start() {
      if (!requireTrustToServe()) return null;
      const scope = currentScope();
      const { model, exits } = inTrustedFolder(await generateOptions(app, scope), scope);
      const options = {
        ...(await withoutGpu(app, recipeSettings('serve', scope))),
        ...(model !== undefined && { model }),
        ...(exits !== undefined && { exits }),
      };
      const title = vscode.l10n.t('Early Exit loads the model to serve …');
      const loading = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
      const state = await vscode.window.withProgress(loading, async (_, token) => {
        token.onCancellationRequested(() => void backend.send(protocol.stopServer, {}).catch(() => {}));
        return backend.send(protocol.startServer, { options }).catch((error: unknown) => {
          if (token.isCancellationRequested) return null;
          throw error;
        });
      });
      show(state);
      return state;
    },
    isServing: () => serving,
    async stop() {
      await backend.send(protocol.stopServer, {});
      show(null);
    },
  };
}
