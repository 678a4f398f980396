/** Token ids become text as they come: whole characters only, and nothing of a stop string. */

/** What decoding needs of a tokenizer. */
export interface TextCodec {
  /** Text of one token by itself, for display. */
  tokenText(id: number): string;
  /** Turns ids into text one by one, holding back incomplete characters. */
  decoder(): { push(id: number): string; flush(): string };
}

/** Releases pieces of text that can no longer be the beginning of a stop string. */
export interface StopMatcher {
  /** Adds a piece; returns how many characters of all text so far are safe, and whether a stop string was met (then they end before it). */
  push(text: string): { safe: number; stopped: boolean };
}

export function stopMatcher(stops: readonly string[]): StopMatcher {
  let text = '';
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  return {
    push(piece) {
      const searchFrom = Math.max(0, text.length - longest + 1);
      text += piece;
      const found = stops.map((stop) => text.indexOf(stop, searchFrom)).filter((at) => at >= 0);
      if (found.length) return { safe: Math.min(...found), stopped: true };
      for (let held = Math.min(longest - 1, text.length); held > 0; held--) {
        const tail = text.slice(text.length - held);
        if (stops.some((stop) => stop.startsWith(tail))) return { safe: text.length - held, stopped: false };
      }
      return { safe: text.length, stopped: false };
    },
  };
}
