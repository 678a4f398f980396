/**
 * Suggestions that were made, the latest first to be found: again at the same place, and while one types into one of them. Pure; knows
 * no `vscode` and no model.
 */
import type { Around } from '../../protocol/suggestion.ts';

/** What was suggested at one place. `text` of each is what would be inserted. */
export interface Suggested<T> {
  readonly text: string;
  readonly of: T;
}

/** A place in a document. */
export interface At extends Around {
  readonly uri: string;
}

export interface Results<T> {
  /** Suggestions for a place; if the user typed the beginning of one, its rest. Null if nothing was requested there. */
  find(at: At): readonly (Suggested<T> & { readonly typed: number })[] | null;
  add(at: At, suggestions: readonly Suggested<T>[]): void;
  clear(): void;
}

const mostPlaces = 250;
/** Characters before and after a place by which it is identified. */
const before = 1_000;
const after = 200;
/** Characters for which typing into a suggestion is followed. */
const mostTyped = 200;

export function createResults<T>(): Results<T> {
  /** In the order of use. */
  const places = new Map<string, readonly Suggested<T>[]>();

  const use = (key: string): readonly Suggested<T>[] | undefined => {
    const found = places.get(key);
    if (found === undefined) return undefined;
    places.delete(key);
    places.set(key, found);
    return found;
  };

  return {
    find({ uri, prefix, suffix }) {
      for (let typed = 0; typed <= Math.min(mostTyped, prefix.length); typed++) {
        const start = prefix.length - typed;
        const found = use(keyOf({ uri, prefix: prefix.slice(0, start), suffix }));
        if (found === undefined) continue;
        const into = prefix.slice(start);
        const left = found.filter(({ text }) => text.startsWith(into) && text.length > typed);
        if (left.length > 0) return left.map(({ text, of }) => ({ text: text.slice(typed), of, typed }));
        // It was requested here, and there was no suggestion.
        if (typed === 0 && found.length === 0) return [];
      }
      return null;
    },
    add(at, suggestions) {
      const key = keyOf(at);
      places.delete(key);
      places.set(key, suggestions);
      if (places.size > mostPlaces) places.delete(places.keys().next().value!);
    },
    clear: () => places.clear(),
  };
}

const keyOf = ({ uri, prefix, suffix }: At): string => `${uri}\0${prefix.slice(-before)}\0${suffix.slice(0, after)}`;
