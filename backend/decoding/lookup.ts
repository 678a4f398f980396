/**
 * Drafts from the text itself: what followed the last tokens when they stood there before (prompt lookup; Saxena 2023).
 * Costs nothing to make and is often right in code. Knows no model.
 */

export interface LookupIndex {
  /** Takes tokens in, in order. */
  add(tokens: readonly number[]): void;
  /** Up to `limit` tokens that followed the most recent earlier place with the same end; `matched`: how long that end was. */
  propose(limit: number): { readonly tokens: number[]; readonly matched: number };
}

/** Ends this long are looked for, the longest first. One token alone says too little. */
const lengths = [4, 3, 2] as const;

export function lookupIndex(): LookupIndex {
  const text: number[] = [];
  /** By length: the place right behind each end's latest occurrence, and the one before that. */
  const places = lengths.map(() => new Map<string, { last: number; before: number }>());
  const keyAt = (end: number, length: number): string => text.slice(end - length, end).join();
  return {
    add(tokens) {
      for (const token of tokens) {
        text.push(token);
        for (const [i, length] of lengths.entries()) {
          if (text.length < length) continue;
          const key = keyAt(text.length, length);
          places[i]!.set(key, { last: text.length, before: places[i]!.get(key)?.last ?? -1 });
        }
      }
    },
    propose(limit) {
      for (const [i, length] of lengths.entries()) {
        if (text.length < length) continue;
        const from = places[i]!.get(keyAt(text.length, length))!.before;
        if (from < 0) continue;
        // A repetition shorter than the draft goes on into the draft itself.
        const period = text.length - from;
        const tokens = Array.from({ length: limit }, (_, n) => text[from + (n % period)]!);
        return { tokens, matched: length };
      }
      return { tokens: [], matched: 0 };
    },
  };
}
