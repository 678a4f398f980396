/** Inserts a text into a document piece by piece, as one step of undo, even if the document is saved meanwhile. */
import * as vscode from 'vscode';

export interface Insertion {
  /** Inserts the next piece at an offset; the last one closes the step of undo. False if VS Code refused it, as behind another edit. */
  next(offset: number, text: string, last: boolean): Promise<boolean>;
  /**
   * Takes back the pieces of an insertion that a save has split, and inserts them as one. False if the document was left as it
   * is: nothing was split, it is not in front, or something else in it was edited meanwhile.
   */
  join(): Promise<boolean>;
  dispose(): void;
}

/** Begins an insertion at an offset of a document. */
export function beginInsertion(document: vscode.TextDocument, start: number): Insertion {
  const before = document.getText();
  let written = '';
  let pieces = 0;
  let split = false;
  // VS Code closes the step of undo that is open when it saves.
  const watch = vscode.workspace.onWillSaveTextDocument((event) => {
    if (event.document === document && pieces > 0) split = true;
  });

  /** Undoes until the text is as before the insertion. If that fails, such as with the focus in another input, it redoes all. */
  const takeBack = async (): Promise<boolean> => {
    let steps = 0;
    for (let shrinks = true; shrinks && steps < pieces && document.getText() !== before; steps++) {
      const { length } = document.getText();
      await vscode.commands.executeCommand('undo');
      shrinks = document.getText().length < length;
    }
    if (document.getText() === before) return true;
    for (; steps > 0; steps--) await vscode.commands.executeCommand('redo');
    return false;
  };

  return {
    async next(offset, text, last) {
      const editor = vscode.window.visibleTextEditors.find((shown) => shown.document === document);
      const stops = { undoStopBefore: pieces === 0, undoStopAfter: last };
      const hidden = (): Thenable<boolean> => {
        split = true; // each edit of a document that is not shown is a step of its own
        return vscode.workspace.applyEdit(insertionOf(document, offset, text));
      };
      const at = document.positionAt(offset);
      // An edit of an editor that has gone meanwhile is rejected.
      const isInserted = editor
        ? await Promise.resolve(editor.edit((builder) => builder.insert(at, text), stops)).catch(hidden)
        : await hidden();
      if (!isInserted) return false;
      pieces++;
      written += text;
      return true;
    },
    async join() {
      const editor = vscode.window.activeTextEditor;
      const whole = before.slice(0, start) + written + before.slice(start);
      if (!split || editor?.document !== document || document.getText() !== whole) return false;
      if (!(await takeBack())) return false;
      return editor.edit((builder) => builder.insert(document.positionAt(start), written));
    },
    dispose: () => void watch.dispose(),
  };
}

function insertionOf(document: vscode.TextDocument, offset: number, text: string): vscode.WorkspaceEdit {
  const edit = new vscode.WorkspaceEdit();
  edit.insert(document.uri, document.positionAt(offset), text);
  return edit;
}
