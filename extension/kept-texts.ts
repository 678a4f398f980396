/** Generated texts of open documents, which follow every edit around them, and end with an edit within them. */
import * as vscode from 'vscode';
import { afterEdit, type GeneratedText } from './generated-text.ts';

export interface KeptTexts {
  get(id: string): GeneratedText | undefined;
  set(text: GeneratedText): void;
  delete(id: string): void;
  /** In a document, or in all of them. */
  list(uri?: string): GeneratedText[];
  /** Runs `insert`, which inserts the next piece at a text's end: an edit that inserts just this piece extends the text. */
  growing(id: string, piece: string, insert: () => Promise<boolean>): Promise<boolean>;
  /** Notifies listeners that texts have changed. */
  changed(): void;
  readonly onChange: vscode.Event<void>;
}

export function createKeptTexts(subscriptions: vscode.Disposable[]): KeptTexts {
  const changed = new vscode.EventEmitter<void>();
  const kept = new Map<string, GeneratedText>();
  /** The piece that is being inserted, by the text's id. */
  const pieces = new Map<string, string>();
  const list = (uri?: string): GeneratedText[] =>
    [...kept.values()].filter((generated) => uri === undefined || generated.uri === uri);

  subscriptions.push(
    changed,
    vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
      const own = list(document.uri.toString());
      if (own.length === 0 || contentChanges.length === 0) return;
      for (const generated of own) {
        let now: GeneratedText | null = generated;
        for (const { rangeOffset: offset, rangeLength: removed, text } of contentChanges) {
          const edit = { offset, removed, inserted: text.length, text };
          now &&= afterEdit(now, edit, pieces.get(generated.id) ?? null);
        }
        if (now === null) kept.delete(generated.id);
        else kept.set(now.id, now);
      }
      changed.fire();
    }),
    vscode.workspace.onDidCloseTextDocument(({ uri, isClosed }) => {
      // Another language of the document comes as closing and opening it; its text stays.
      const own = isClosed ? list(uri.toString()) : [];
      for (const { id } of own) kept.delete(id);
      if (own.length > 0) changed.fire();
    }),
  );

  return {
    get: (id) => kept.get(id),
    set: (text) => void kept.set(text.id, text),
    delete: (id) => void kept.delete(id),
    list,
    async growing(id, piece, insert) {
      pieces.set(id, piece);
      try {
        return await insert();
      } finally {
        pieces.delete(id);
      }
    },
    changed: () => changed.fire(),
    onChange: changed.event,
  };
}
