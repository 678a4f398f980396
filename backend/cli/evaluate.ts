/** Draws an evaluation: scores of each exit and what each threshold would save. */
import { plural } from '../../protocol/plural.ts';
import type { EvaluateEvent } from '../../protocol/events.ts';
import { openProgress } from './progress.ts';
import { scoreTable, sweepConclusion, sweepTable } from './scores.ts';
import type { Terminal } from './terminal.ts';

export async function showEvaluate(events: AsyncIterable<EvaluateEvent>, terminal: Terminal): Promise<void> {
  const { out, err } = terminal;
  const { bold, dim } = out.colours;
  const progress = openProgress(err);
  try {
    for await (const event of events) {
      if (event.type !== 'evaluated') {
        progress.show(event);
        continue;
      }
      progress.end();
      out.write(`\n${bold('Exits')} ${dim(`· ${plural(event.tokens, 'token')}`)}\n${scoreTable(out, event.scores)}`);
      if (event.sweep.length > 0) {
        const what = 'how sure an exit must be, and what that saves on this text';
        out.write(`\n${bold('Thresholds')} ${dim(`· ${what}`)}\n${sweepTable(out, event.sweep)}`);
        out.write(`\n${sweepConclusion(event.scores, event.sweep)}\n`);
      }
    }
  } finally {
    progress.status.clear();
  }
}
