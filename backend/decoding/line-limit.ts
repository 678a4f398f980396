/** A time after which a text ends where its line does. */
import type { SequenceOptions } from './sequence.ts';

/**
 * One text written the same way, which ends with the first token that holds a line end and comes more than so long after the
 * text's first: what is cut off early is whole lines, as llama.cpp's `t_max_predict_ms` has it.
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
    codec: { tokenText: (id) => how.codec.tokenText(id), decoder },
    isCancelled: () => isOver || (how.isCancelled?.() ?? false),
  };
}
