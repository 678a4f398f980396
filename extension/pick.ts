/** Picks that have the keys, wherever they were opened from. */
import * as vscode from 'vscode';

interface PickOptions {
  readonly title: string;
  readonly placeHolder?: string;
  readonly ignoreFocusOut?: boolean;
}

/** Undefined where the user went away. */
export function showPick<Item extends vscode.QuickPickItem>(
  items: readonly Item[],
  { title, placeHolder, ignoreFocusOut = false }: PickOptions,
): Promise<Item | undefined> {
  const list = vscode.window.createQuickPick<Item>();
  list.title = title;
  list.placeholder = placeHolder;
  list.ignoreFocusOut = ignoreFocusOut;
  list.items = items;
  return new Promise((resolve) => {
    list.onDidAccept(() => {
      resolve(list.activeItems[0]);
      list.hide();
    });
    list.onDidHide(() => {
      resolve(undefined);
      list.dispose();
    });
    list.show();
    takeKeys();
  });
}

/** How long a walkthrough may take to take the focus back, which a click on its button had. */
const SETTLING_MILLISECONDS = 300;

/** A walkthrough or a panel keeps the focus where a pick was opened from it: gives it to the pick, which is shown already. */
export function takeKeys(): void {
  const take = (): void => void vscode.commands.executeCommand('workbench.action.focusQuickOpen');
  take();
  setTimeout(take, SETTLING_MILLISECONDS);
}
