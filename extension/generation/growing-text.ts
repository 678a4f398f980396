/** Inserts a generation into its document as its tokens come, and tells the server where they stand. */
import * as vscode from 'vscode';
import * as protocol from '../../protocol/server.ts';
import type { Backend } from '../backend/backend.ts';
import { textOf, type GeneratedText } from './generated-text.ts';
import type { Insertion } from './insertion.ts';
import type { KeptTexts } from './kept-texts.ts';
import type { TokenReader } from './token-streams.ts';

/**
 * Behind each edit the editor is left alone for this many times as long as the edit took: where a token's edit takes longer than the token,
 * laying them out one by one would take the processors from the model.
 */
const IDLE_SHARE = 3;
/** How often a piece is inserted anew that VS Code refused, as it does if the document has changed meanwhile. */
const MOST_TRIES = 8;

/** Inserts tokens at the end of a text; ends early once the text was edited or moved to another document. Throws if it takes no edits. */
export async function growText(
  id: string,
  reader: TokenReader,
  insertion: Insertion,
  kept: KeptTexts,
  backend: Backend,
): Promise<void> {
  const uri = kept.get(id)?.uri;
  const here = (): GeneratedText | null => {
    const generated = kept.get(id);
    return generated && generated.uri === uri ? generated : null;
  };
  let pause = 0;
  for (let next = await reader.next(0); next !== null; next = await reader.next(pause)) {
    const begun = performance.now();
    const { tokens, isLast } = next;
    const generated = here();
    if (!generated) return;
    await insertPiece(here, textOf(tokens, generated.lineEnd), isLast, insertion, kept);
    const grown = here();
    if (!grown) return;
    kept.set({ ...grown, trace: { ...grown.trace, tokens: [...grown.trace.tokens, ...tokens] } });
    kept.changed();
    await backend.send(protocol.placeTokens, { generation: id, offset: grown.span.start, count: tokens.length });
    pause = IDLE_SHARE * (performance.now() - begun);
  }
}

/** Inserts a piece at the end of a text, which `here` finds as it is now; tries again if another edit of the document came first. */
async function insertPiece(
  here: () => GeneratedText | null,
  piece: string,
  isLast: boolean,
  insertion: Insertion,
  kept: KeptTexts,
): Promise<void> {
  if (piece === '') return;
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    const before = here();
    if (!before) return;
    const isTaken = await kept.growing(before.id, piece, () => insertion.next(before.span.end, piece, isLast));
    const after = here();
    if (!after || lengthOf(after) > lengthOf(before)) return;
    if (isTaken) break;
  }
  throw new Error(vscode.l10n.t('The editor takes no text: the file may be read-only.'));
}

const lengthOf = ({ span }: GeneratedText): number => span.end - span.start;
