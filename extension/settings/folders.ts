/** The folders on this machine's disk that the window has open, and what settings and paths of each count for. */
import * as vscode from 'vscode';
import type { RecipeOptions } from '../../protocol/server.ts';
import { generateInFolder } from './folder-paths.ts';

const folders = (): vscode.WorkspaceFolder[] =>
  (vscode.workspace.workspaceFolders ?? []).filter(({ uri }) => uri.scheme === 'file');

export const workspaceFolders = (): string[] => folders().map(({ uri }) => uri.fsPath);

/** Those whose models and exits are listed: none if they are not trusted. */
export const trustedWorkspaceFolders = (): string[] => (vscode.workspace.isTrusted ? workspaceFolders() : []);

/** The one of the active editor, else the first; undefined without any. */
export function currentFolder(): vscode.WorkspaceFolder | undefined {
  return folderWith(vscode.window.activeTextEditor?.document.uri) ?? folders()[0];
}

/** The one that a file or folder lies in, else the current one. */
export const folderOf = (file: string): vscode.WorkspaceFolder | undefined =>
  folderWith(vscode.Uri.file(file)) ?? currentFolder();

/** Whose settings count now: the active document's, as for what is generated there, else the first folder's. */
export const currentScope = (): vscode.Uri | undefined =>
  vscode.window.activeTextEditor?.document.uri ?? folders()[0]?.uri;

/** Options of a generation, with paths of the folder of `scope`, else of the first one. */
export const inTrustedFolder = (options: RecipeOptions, scope = currentScope()): RecipeOptions =>
  generateInFolder(options, trustedFolders(scope));

/** None if the folders are not trusted: they cannot put a model of their own in the place of the named one. */
function trustedFolders(scope: vscode.Uri | undefined): readonly string[] {
  if (!vscode.workspace.isTrusted) return [];
  const own = folderWith(scope)?.uri.fsPath;
  const [first] = workspaceFolders();
  return [own, first].filter((each) => each !== undefined);
}

function folderWith(uri: vscode.Uri | undefined): vscode.WorkspaceFolder | undefined {
  const own = uri && vscode.workspace.getWorkspaceFolder(uri);
  return own?.uri.scheme === 'file' ? own : undefined;
}
