/** Token ids become text as they come: whole characters only, and nothing of a stop string. */
import type { StopReason } from '../../protocol/trace.ts';
import type { FimTokens } from '../data/prompts/fim.ts';

/** What decoding needs of a tokenizer. */
export interface TextCodec {
  /** Null if the model was not taught to fill in. */
  readonly fim: FimTokens | null;
  /** Text of a single token, for display. */
  tokenText(id: number): string;
  /** Turns ids into text one by one, holding back incomplete characters. */
  decoder(): { push(id: number): string; flush(): string };
}

/** Decides where a text ends, a token at a time. A later token can extend the safe part, but never shorten it. */
export interface TextEnd {
  /**
   * Adds a token's text. `safe`: the number of characters that belong to the text whatever follows; `reason`: why it ends there, null if it
   * continues; `stop`: the stop string that ends it.
   */
  push(text: string): { readonly safe: number; readonly reason: StopReason | null; readonly stop?: string };
  /** How many characters belong to a text that ends here for another reason. */
  settled(): number;
}

/** Ends a text before the first of these strings. */
export function stopStringEnd(stops: readonly string[]): TextEnd {
  let text = '';
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  return {
    push(piece) {
      const searchFrom = Math.max(0, text.length - longest + 1);
      text += piece;
      const found = stops
        .map((stop) => ({ stop, at: text.indexOf(stop, searchFrom) }))
        .filter(({ at }) => at >= 0)
        .sort((a, b) => a.at - b.at)[0];
      if (found) return { safe: found.at, reason: 'stop-string', stop: found.stop };
      for (let size = Math.min(longest - 1, text.length); size > 0; size--) {
        const tail = text.slice(text.length - size);
        if (stops.some((stop) => stop.startsWith(tail))) return { safe: text.length - size, reason: null };
      }
      return { safe: text.length, reason: null };
    },
    settled: () => text.length,
  };
}

/** Ends a text at the earliest of several ends. */
export function firstEnd(ends: readonly TextEnd[]): TextEnd {
  return {
    push(piece) {
      const verdicts = ends.map((end) => end.push(piece));
      const over = verdicts.filter(({ reason }) => reason !== null).sort((a, b) => a.safe - b.safe)[0];
      return over ?? { safe: Math.min(...verdicts.map(({ safe }) => safe)), reason: null };
    },
    settled: () => Math.min(...ends.map((end) => end.settled())),
  };
}
