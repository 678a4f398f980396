/** Token ids become text as they come: whole characters only, and nothing of a stop string. */
import type { StopReason } from '../../protocol/trace.ts';

/** What decoding needs of a tokenizer. */
export interface TextCodec {
  /** Text of one token by itself, for display. */
  tokenText(id: number): string;
  /** Turns ids into text one by one, holding back incomplete characters. */
  decoder(): { push(id: number): string; flush(): string };
}

/**
 * Decides where a text ends while it comes, a token at a time. What has not come can still change what is safe, never what was: text
 * that was once safe stays.
 */
export interface TextEnd {
  /**
   * Adds a token's text. `safe`: how many characters so far belong to the text whatever follows; `reason`: why it ends right
   * there, null where it goes on.
   */
  push(text: string): { readonly safe: number; readonly reason: StopReason | null };
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
      const found = stops.map((stop) => text.indexOf(stop, searchFrom)).filter((at) => at >= 0);
      if (found.length) return { safe: Math.min(...found), reason: 'stop-string' };
      for (let held = Math.min(longest - 1, text.length); held > 0; held--) {
        const tail = text.slice(text.length - held);
        if (stops.some((stop) => stop.startsWith(tail))) return { safe: text.length - held, reason: null };
      }
      return { safe: text.length, reason: null };
    },
    settled: () => text.length,
  };
}

/** A text ends where the first of these ends it. */
export function firstEnd(ends: readonly TextEnd[]): TextEnd {
  return {
    push(piece) {
      const said = ends.map((end) => end.push(piece));
      const over = said.filter(({ reason }) => reason !== null).sort((a, b) => a.safe - b.safe)[0];
      return over ?? { safe: Math.min(...said.map(({ safe }) => safe)), reason: null };
    },
    settled: () => Math.min(...ends.map((end) => end.settled())),
  };
}
