/** What a folder must be trusted for. */
import * as vscode from 'vscode';
import { offer } from '../messages.ts';

/** Whether runs may begin and be resumed in this folder; shows a message if not. */
export const requireTrust = (): boolean =>
  isTrusted(vscode.l10n.t('This folder is not trusted: nothing is tuned in it.'));

/** The same of a server for other programs. */
export const requireTrustToServe = (): boolean =>
  isTrusted(vscode.l10n.t('This folder is not trusted: nothing of it is served to other programs.'));

function isTrusted(otherwise: string): boolean {
  if (vscode.workspace.isTrusted) return true;
  const act = (): unknown => vscode.commands.executeCommand('workbench.trust.manage');
  offer(vscode.window.showInformationMessage, otherwise, [{ title: vscode.l10n.t('Manage Trust'), act }]);
  return false;
}
