/** The one message when something is wrong, with what one can do about it. */
import * as vscode from 'vscode';
import { describeError } from '../protocol/errors.ts';
import type { Backend } from './backend.ts';
import { commandId } from './commands.ts';

export async function showFailure({ backend }: { readonly backend: Backend }, error: unknown): Promise<void> {
  const message = describeError(error);
  backend.log.error(error instanceof Error && error.stack !== undefined ? error.stack : message);
  const logs = vscode.l10n.t('Show Logs');
  const restart = vscode.l10n.t('Restart Backend');
  const settings = vscode.l10n.t('Open Settings');
  const isSetting = /\bearlyExit\./.test(message);
  const actions = isSetting ? [settings] : backend.state() === 'failed' ? [restart, logs] : [logs];
  const choice = await vscode.window.showErrorMessage(message, ...actions);
  if (choice === logs) backend.log.show();
  if (choice === restart) await vscode.commands.executeCommand(commandId('restart'));
  if (choice === settings) {
    const setting = /\bearlyExit(?:\.\w+)+/.exec(message)?.[0] ?? 'earlyExit';
    await vscode.commands.executeCommand('workbench.action.openSettings', setting);
  }
}
