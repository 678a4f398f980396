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

/** Saving a document under a name empties or closes it, and opens another. Within this time, one that has its generated text is that other. */
const MOVING_MILLISECONDS = 2_000;

/** The generated texts of a document that was closed, emptied or renamed. `at`: milliseconds since 1970. */
interface Left {
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

  /** Generated texts whose documents were closed, emptied or renamed lately, and other documents that were opened or edited lately, by address. */
  const left = new Map<string, Left>();
  const arrived = new Map<string, Arrived>();
  /** Texts that have lost their document go on in another that has them: either of the two may come first. */
  const follow = (): void => {
    const oldest = Date.now() - MOVING_MILLISECONDS;
    for (const recent of [left, arrived]) for (const [uri, { at }] of recent) if (at < oldest) recent.delete(uri);
    for (const [from, { own }] of left)
      for (const [uri, { document }] of arrived) {
        if (uri === from) continue;
        const text = document.getText();
        const texts = own.flatMap((generated) => carried(generated, text) ?? []).map((each) => ({ ...each, uri }));
        if (texts.length === 0) continue;
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

  const edit = (generated: GeneratedText, changes: readonly vscode.TextDocumentContentChangeEvent[]): void => {
    let now: GeneratedText | null = generated;
    for (const { rangeOffset: offset, rangeLength: removed, text } of changes) {
      const change = { offset, removed, inserted: text.length, text };
      now &&= afterEdit(now, change, pieces.get(generated.id) ?? null);
    }
    if (now === null) kept.delete(generated.id);
    else kept.set(now.id, now);
  };
  const leave = (uri: string, own: readonly GeneratedText[]): void => {
    for (const { id } of own) kept.delete(id);
    left.set(uri, { own, at: Date.now() });
    follow();
    changed.fire();
  };
  /** A file or a folder has another name; its documents may stay open for a while. */
  const rename = (old: string): void => {
    const within = new Set([...kept.values()].map(({ uri }) => uri));
    for (const uri of within) if (uri === old || uri.startsWith(`${old}/`)) leave(uri, list(uri));
  };

  subscriptions.push(
    changed,
    moved,
    vscode.workspace.onDidOpenTextDocument(arrive),
    vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
      if (contentChanges.length === 0) return;
      const own = list(document.uri.toString());
      if (own.length === 0) return arrive(document);
      if (document.getText() === '') return leave(document.uri.toString(), own);
      for (const generated of own) edit(generated, contentChanges);
      changed.fire();
    }),
    vscode.workspace.onDidCloseTextDocument((document) => {
      // Another language of the document comes as closing and opening it; its text stays.
      const uri = document.uri.toString();
      const own = document.isClosed ? list(uri) : [];
      if (own.length > 0) leave(uri, own);
    }),
    vscode.workspace.onDidRenameFiles(({ files }) => files.forEach(({ oldUri }) => rename(oldUri.toString()))),
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
