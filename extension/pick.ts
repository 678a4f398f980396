/** Picks that have the keys, wherever they were opened from. */
import * as vscode from 'vscode';

/** Undefined where the user went away. */
export function showPick<Item extends vscode.QuickPickItem>(
  items: readonly Item[],
  options: vscode.QuickPickOptions,
): Thenable<Item | undefined> {
  const picked = vscode.window.showQuickPick(items, options);
  void takeKeys();
  return picked;
}

/** A walkthrough or a panel keeps the focus where a pick was opened from it, or takes it back behind the pick before. */
export const takeKeys = (): Thenable<unknown> => vscode.commands.executeCommand('workbench.action.focusQuickOpen');
