/**
 * Hints of the text: where its last words stood before, the token that followed is likely to follow again. A hint knows nothing of the
 * model.
 */
import { lookupIndex, type Guess } from './lookup.ts';

export interface Hint {
  readonly token: number;
  /** How many tokens before it stood alike, and at how many places the same token followed. */
  readonly matched: number;
  readonly votes: number;
  /** Whether at least `clearMatch` tokens before it stood alike, and the same token followed everywhere. */
  readonly isClear: boolean;
}

const clearMatch = 3;

export interface Hints {
  /** Takes tokens of the text in, in order. */
  add(tokens: readonly number[]): void;
  /** For the next token, and for the one behind each of `drafts` if these are the next ones; null: the text has no hint. */
  next(drafts: readonly number[]): (Hint | null)[];
}

export function newHints(text: readonly number[]): Hints {
  const index = lookupIndex();
  index.add(text);
  return {
    add: (tokens) => index.add(tokens),
    next: (drafts) => index.behindEach(drafts).map((guess) => guess && hintOf(guess)),
  };
}

/** The hint for the token behind each token of a text from `from` on. */
export function hintsBehind(text: readonly number[], from: number): (Hint | null)[] {
  const hints = newHints(text.slice(0, from));
  return text.slice(from).map((token) => {
    hints.add([token]);
    return hints.next([])[0]!;
  });
}

const hintOf = ({ token, matched, votes, places }: Guess): Hint => ({
  token,
  matched,
  votes,
  isClear: matched >= clearMatch && votes === places,
});
