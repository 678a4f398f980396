/** A pick that has its entries when it is shown, so that typed keys reach it at once. */
import * as vscode from 'vscode';

interface PickOptions {
  readonly title: string;
  readonly placeHolder?: string;
  readonly ignoreFocusOut?: boolean;
  readonly matchOnDescription?: boolean;
}

/** Undefined if the user dismissed it. `typed` makes entries from what is typed, which are above the others. */
export function showPick<Item extends vscode.QuickPickItem>(
  items: readonly Item[],
  { title, placeHolder, ignoreFocusOut = false, matchOnDescription = false }: PickOptions,
  typed?: (value: string) => readonly Item[],
): Promise<Item | undefined> {
  const list = vscode.window.createQuickPick<Item>();
  list.title = title;
  list.placeholder = placeHolder;
  list.ignoreFocusOut = ignoreFocusOut;
  list.matchOnDescription = matchOnDescription;
  list.items = items;
  return new Promise((resolve) => {
    if (typed) list.onDidChangeValue((value) => (list.items = [...typed(value), ...items]));
    list.onDidAccept(() => {
      resolve(list.activeItems[0]);
      list.hide();
    });
    list.onDidHide(() => {
      resolve(undefined);
      list.dispose();
    });
    list.show();
  });
}
