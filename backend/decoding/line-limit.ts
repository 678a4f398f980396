/** A time after which a text ends at the end of its line. */
import type { TextEnd } from './text.ts';

/**
 * Ends a text with the first token that contains a line end and comes more than `milliseconds` after the text's first token. So whole lines
 * remain, as with llama.cpp's `t_max_predict_ms`.
 */
export const lineLimit = (milliseconds: number) => (): TextEnd => {
  let begun: number | null = null;
  let length = 0;
  return {
    push(text) {
      const now = performance.now();
      begun ??= now;
      length += text.length;
      return { safe: length, reason: text.includes('\n') && now - begun > milliseconds ? 'length' : null };
    },
    settled: () => length,
  };
};
