/**
 * Generated texts of open documents, which follow every edit around them, and end with an edit within them. They follow their document, too,
 * if it is saved under a name or renamed.
 */
import * as vscode from 'vscode';
import { afterEdit, carried, type GeneratedText } from './generated-text.ts';

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
  /** Texts are in another document now. The server may not know that document's text yet. */
  readonly onMoved: vscode.Event<readonly GeneratedText[]>;
}

/** Saving a document under a name closes it and opens another. Within this time, one that has the same text is that other. */
const MOVING_MILLISECONDS = 2_000;

/** A document that was closed, with its generated texts. `at`: milliseconds since 1970. */
interface Left {
  readonly text: string;
  readonly own: readonly GeneratedText[];
  readonly at: number;
}

interface Arrived {
  readonly document: vscode.TextDocument;
  readonly at: number;
}

export function createKeptTexts(subscriptions: vscode.Disposable[]): KeptTexts {
  const changed = new vscode.EventEmitter<void>();
  const moved = new vscode.EventEmitter<readonly GeneratedText[]>();
  const kept = new Map<string, GeneratedText>();
  /** The piece that is being inserted, by the text's id. */
  const pieces = new Map<string, string>();
  const list = (uri?: string): GeneratedText[] =>
    [...kept.values()].filter((generated) => uri === undefined || generated.uri === uri);

  /** Documents with generated texts that were closed lately, and others that were opened or edited lately, by address. */
  const left = new Map<string, Left>();
  const arrived = new Map<string, Arrived>();
  /** Texts of documents that were closed go on in another that has them: either of the two may come first. */
  const follow = (): void => {
    if (left.size === 0) return;
    const oldest = Date.now() - MOVING_MILLISECONDS;
    for (const recent of [left, arrived]) for (const [uri, { at }] of recent) if (at < oldest) recent.delete(uri);
    for (const [from, { text, own }] of left)
      for (const [uri, { document }] of arrived) {
        const now = document.getText();
        const texts = own.flatMap((generated) => carried(generated, text, now) ?? []).map((each) => ({ ...each, uri }));
        if (uri === from || texts.length === 0) continue;
        for (const each of texts) kept.set(each.id, each);
        left.delete(from);
        arrived.delete(uri);
        moved.fire(texts);
        break;
      }
  };
  const arrive = (document: vscode.TextDocument): void => {
    if (!['file', 'untitled'].includes(document.uri.scheme)) return;
    arrived.set(document.uri.toString(), { document, at: Date.now() });
    follow();
  };

  subscriptions.push(
    changed,
    moved,
    vscode.workspace.onDidOpenTextDocument(arrive),
    vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
      if (contentChanges.length === 0) return;
      const own = list(document.uri.toString());
      if (own.length === 0) return arrive(document);
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
    vscode.workspace.onDidCloseTextDocument((document) => {
      // Another language of the document comes as closing and opening it; its text stays.
      const own = document.isClosed ? list(document.uri.toString()) : [];
      if (own.length === 0) return;
      for (const { id } of own) kept.delete(id);
      left.set(document.uri.toString(), { text: document.getText(), own, at: Date.now() });
      follow();
      changed.fire();
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
    onMoved: moved.event,
  };
}
