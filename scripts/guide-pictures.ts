/** Pictures of kept runs, as docs/images/*.svg: quality over measured speed, in the colours of the reader's theme. */
import { overSpeed } from '../backend/evaluation/report/task-figures.ts';
import { svg } from '../backend/evaluation/report/svg.ts';
import type { Kept } from './guide.ts';
import { judged } from './guide-questions.ts';

/** Of each kept study of judged tasks whose speed was measured; its first set. */
export const pictures = (kept: Kept): { readonly name: string; readonly drawing: string }[] =>
  judged.flatMap((name) => {
    const study = kept(name);
    const [set] = study?.kind === 'tasks' ? study.sets : [];
    const figure = set ? overSpeed(set, name) : null;
    return figure === null || figure.kind === 'table'
      ? []
      : [{ name: `${name}.svg`, drawing: `${svg(figure, true)}\n` }];
  });
