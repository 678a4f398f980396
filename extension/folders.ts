/** The folders on this machine's disk that the window has open. */
import * as vscode from 'vscode';

const folders = (): vscode.WorkspaceFolder[] =>
  (vscode.workspace.workspaceFolders ?? []).filter(({ uri }) => uri.scheme === 'file');

export const workspaceFolders = (): string[] => folders().map(({ uri }) => uri.fsPath);

/** The one of the active editor, else the first; undefined without any. */
export function currentFolder(): vscode.WorkspaceFolder | undefined {
  const active = vscode.window.activeTextEditor?.document.uri;
  const own = active && vscode.workspace.getWorkspaceFolder(active);
  return own?.uri.scheme === 'file' ? own : folders()[0];
}
