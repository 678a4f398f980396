/** The folders on this machine's disk that the window has open. */
import * as vscode from 'vscode';

export const workspaceFolders = (): string[] =>
  (vscode.workspace.workspaceFolders ?? []).filter(({ uri }) => uri.scheme === 'file').map(({ uri }) => uri.fsPath);
