/**
 * What texts foretell, for drafts and hints: the tokens that most often followed the latest ones where these occurred before, in the text
 * itself or in other given texts (after SuffixDecoding, arXiv 2411.04975, with chains of places instead of a tree). Knows no model.
 */

export interface LookupIndex {
  /** Takes tokens of the text in, in order. */
  add(tokens: readonly number[]): void;
  /** Up to `limit` tokens that are likely to follow, one behind the other. */
  propose(limit: number): readonly Guess[];
  /** The likeliest next token, and that behind each of `drafts` if these were added; null: nothing suggests any. */
  behindEach(drafts: readonly number[]): (Guess | null)[];
}

/** A token that may come next. */
export interface Guess {
  readonly token: number;
  /** How many tokens before it stood alike in the places that suggest it, at most `longestMatch`. */
  readonly matched: number;
  /** Places that propose this token, and all places that were considered. */
  readonly votes: number;
  readonly places: number;
}

/** Places are found by their last two tokens: one token alone is too ambiguous. */
const shortestMatch = 2;
/** Longer matches are not distinguished. */
export const longestMatch = 16;
/** The number of latest places that are considered, whatever the text's length. */
const mostPlaces = 16;
/** Tokens of other texts that are kept. */
const mostOthers = 2 ** 16;

/** No token: separates two texts. */
const gap = -1;

/** `others`: texts that this one may repeat, those that are closest to it last. */
export function lookupIndex(others: readonly (readonly number[])[] = []): LookupIndex {
  /** All texts, one behind the other. */
  const text: number[] = [];
  /** For the place behind each token, the latest place before it with the same two tokens; −1: none. */
  const before: number[] = [];
  const latest = new Map<number, number>();

  const push = (token: number): void => {
    const at = text.push(token);
    const [one, two] = [text[at - shortestMatch], token];
    if (one === undefined || one === gap || two === gap) return void before.push(-1);
    const key = keyOf(one, two);
    before.push(latest.get(key) ?? -1);
    latest.set(key, at);
  };

  /** Takes the newest token out again. */
  const pop = (): void => {
    const [at, place] = [text.length, before.pop()!];
    const [one, two] = text.slice(-shortestMatch);
    text.pop();
    if (place >= 0) latest.set(keyOf(one!, two!), place);
    else if (at >= shortestMatch) latest.delete(keyOf(one!, two!));
  };

  /** How many tokens before two places are the same. */
  const matchOf = (place: number, end: number): number => {
    let length = 0;
    while (
      length < longestMatch &&
      text[place - 1 - length] === text[end - 1 - length] &&
      text[end - 1 - length] !== gap
    )
      length++;
    return length;
  };

  for (const other of latestTokens(others)) for (const token of [...other, gap]) push(token);

  const propose = (limit: number): Guess[] => {
    const end = text.length;
    const found: { readonly place: number; readonly matched: number }[] = [];
    for (let place = before[end - 1] ?? -1; place >= 0 && found.length < mostPlaces; place = before[place - 1]!)
      found.push({ place, matched: matchOf(place, end) });
    const longest = Math.max(0, ...found.map(({ matched }) => matched));
    let places = found.filter(({ matched }) => matched === longest).map(({ place }) => place);
    const guesses: Guess[] = [];
    /** If a repetition is shorter than the draft, it continues into the draft itself. */
    const tokenAt = (place: number): number => (place < end ? text[place]! : guesses[place - end]!.token);
    while (guesses.length < limit && places.length > 0) {
      const next = places.map(tokenAt);
      const [token, votes] = mostFrequent(next);
      if (token === gap) break;
      guesses.push({ token, matched: Math.min(longestMatch, longest + guesses.length), votes, places: next.length });
      places = places.filter((_, i) => next[i] === token).map((place) => place + 1);
    }
    return guesses;
  };

  return {
    add(tokens) {
      for (const token of tokens) push(token);
    },
    propose,
    behindEach(drafts) {
      const first = (): Guess | null => propose(1)[0] ?? null;
      const guesses = [first()];
      for (const draft of drafts) {
        push(draft);
        guesses.push(first());
      }
      for (let n = 0; n < drafts.length; n++) pop();
      return guesses;
    },
  };
}

const keyOf = (one: number, two: number): number => one * 2 ** 24 + two;

/** The most frequent token; of equally frequent ones the one that comes first, since `tokens` begin with the latest. */
function mostFrequent(tokens: readonly number[]): readonly [token: number, votes: number] {
  const votes = new Map<number, number>();
  for (const token of tokens) votes.set(token, (votes.get(token) ?? 0) + 1);
  return [...votes].reduce((best, one) => (one[1] > best[1] ? one : best));
}

/** The last tokens of the last texts, as many as are kept. */
function latestTokens(texts: readonly (readonly number[])[]): (readonly number[])[] {
  let left = mostOthers;
  const all = texts.toReversed().flatMap((text) => {
    const own = left > 0 ? text.slice(-left) : [];
    left -= own.length;
    return own.length > 0 ? [own] : [];
  });
  return all.reverse();
}
