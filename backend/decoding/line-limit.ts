/** A time after which a text ends at the end of its line. */
import type { SequenceOptions } from './sequence.ts';

/**
 * The same options for one text, which ends with the first token that contains a line end and comes more than `milliseconds` after the
 * text's first token. So whole lines remain, as with llama.cpp's `t_max_predict_ms`.
 */
export function endingWithLine<How extends SequenceOptions>(how: How, milliseconds: number): How {
  let begun: number | null = null;
  let isOver = false;
  const decoder = (): ReturnType<SequenceOptions['codec']['decoder']> => {
    const characters = how.codec.decoder();
    return {
      push(id) {
        const text = characters.push(id);
        const now = performance.now();
        begun ??= now;
        isOver ||= text.includes('\n') && now - begun > milliseconds;
        return text;
      },
      flush: () => characters.flush(),
    };
  };
  return {
    ...how,
    codec: { fim: how.codec.fim, tokenText: (id) => how.codec.tokenText(id), decoder },
    isCancelled: () => isOver || (how.isCancelled?.() ?? false),
  };
}
