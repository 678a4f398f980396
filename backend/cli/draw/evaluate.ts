/** Draws an evaluation: scores of each exit and what each threshold would save, or answers that were judged. */
import { plural } from '../../../protocol/plural.ts';
import type { EvaluateEvent } from '../../../protocol/events.ts';
import type { EvaluateOptions } from '../../../protocol/options/options.ts';
import { afterEvaluation } from './advice.ts';
import { namingOf, writeAdvice } from './naming.ts';
import { drawEvents } from './progress.ts';
import { scoreTable, sweepTable } from './scores.ts';
import { taskTables } from './tasks.ts';
import type { Terminal } from './terminal.ts';

export async function showEvaluate(
  events: AsyncIterable<EvaluateEvent>,
  terminal: Terminal,
  { exits, model, data }: Pick<EvaluateOptions, 'exits' | 'model' | 'data'>,
): Promise<void> {
  const { out, err } = terminal;
  const { bold, dim } = out.colours;
  await drawEvents(events, err, {
    answer: () => undefined,
    judged(event, progress) {
      progress.end();
      out.write(taskTables(out, event.sets, event.margin));
      out.write(dim(`\nEach answer is in ${event.directory}.\n`));
    },
    evaluated(event, progress) {
      progress.end();
      out.write(`\n${bold('Exits')} ${dim(`· ${plural(event.tokens, 'token')}`)}\n${scoreTable(out, event.scores)}`);
      if (event.sweep.length === 0) return;
      const what = 'how sure an exit must be, and what that saves on this text';
      out.write(`\n${bold('Thresholds')} ${dim(`· ${what}`)}\n${sweepTable(out, event.sweep)}`);
      writeAdvice(out, afterEvaluation(event.scores, event.sweep, namingOf(exits ?? '', model, data)));
    },
  });
}
