/** Visited places of files, and their pieces: those that the user leaves, saves, copies from or jumps away from. */
import * as vscode from 'vscode';
import { chunkAround, chunkLines, withChunk, type Chunk } from './chunks.ts';
import { nameOf } from './place.ts';

export interface Visited {
  readonly chunks: () => readonly Chunk[];
  readonly onChange: vscode.Event<void>;
}

/** Larger files are not taken for a person's own text. */
const mostLines = 50_000;

export function followVisits(isOn: () => boolean, subscriptions: vscode.Disposable[]): Visited {
  const changed = new vscode.EventEmitter<void>();
  let chunks: readonly Chunk[] = [];
  let left: { document: vscode.TextDocument; line: number } | null = null;

  const visit = (document: vscode.TextDocument, line: number): void => {
    if (!isOn() || !isText(document) || document.isClosed || document.lineCount > mostLines) return;
    const text = chunkAround(document.getText().split(/\r?\n/), line);
    const now = withChunk(chunks, { file: nameOf(document.uri), text });
    if (now === chunks) return;
    chunks = now;
    changed.fire();
  };
  const here = (editor: vscode.TextEditor | undefined): void => {
    left = editor ? { document: editor.document, line: editor.selection.active.line } : null;
  };

  here(vscode.window.activeTextEditor);
  subscriptions.push(
    changed,
    vscode.window.onDidChangeActiveTextEditor((editor) => {
      if (left && left.document !== editor?.document) visit(left.document, left.line);
      if (editor) visit(editor.document, editor.selection.active.line);
      here(editor);
    }),
    vscode.workspace.onDidSaveTextDocument((document) => {
      const editor = vscode.window.visibleTextEditors.find((shown) => shown.document === document);
      if (editor) visit(document, editor.selection.active.line);
    }),
    vscode.window.onDidChangeTextEditorSelection(({ textEditor }) => {
      const { document, selection } = textEditor;
      if (left?.document === document && Math.abs(left.line - selection.active.line) > chunkLines)
        visit(document, left.line);
      if (textEditor === vscode.window.activeTextEditor) here(textEditor);
    }),
    vscode.languages.registerDocumentPasteEditProvider(
      { scheme: 'file' },
      {
        prepareDocumentPaste: (document, ranges) => visit(document, ranges[0]?.start.line ?? 0),
      },
      { providedPasteEditKinds: [], copyMimeTypes: ['text/plain'] },
    ),
  );
  return { chunks: () => chunks, onChange: changed.event };
}

const isText = ({ uri }: vscode.TextDocument): boolean => uri.scheme === 'file' || uri.scheme === 'untitled';
