/** Pictures of kept runs, as docs/images/*.svg: quality over measured speed, in the colours of the reader's theme. */
import { svg } from '../backend/evaluation/report/svg.ts';
import type { Kept } from './kept-studies.ts';
import { judgedNames, overSpeedOf } from './guide-questions.ts';

/** Of each kept study of judged tasks whose speed was measured; its first set. */
export const pictures = (kept: Kept): { readonly name: string; readonly drawing: string }[] =>
  judgedNames.flatMap((name) => {
    const figure = overSpeedOf(kept, name);
    return figure === null ? [] : [{ name: `${name}.svg`, drawing: `${svg(figure, true)}\n` }];
  });
