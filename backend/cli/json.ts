/** `--json`: results on standard output, one object a line; progress stays on standard error. */
import type { JobEvents } from '../../protocol/jobs.ts';
import type { CommandName } from '../../protocol/options/options.ts';
import { jsonLine, shownRecord } from '../../protocol/shown.ts';
import { openProgress } from './draw/progress.ts';
import type { Terminal } from './draw/terminal.ts';

type AnyEvent = JobEvents[CommandName];

/** Writes every event but progress; a token's record lies flat in its line. Answers the last event. */
export async function showJson<E extends AnyEvent>(events: AsyncIterable<E>, terminal: Terminal): Promise<E | null> {
  const progress = openProgress(terminal.err);
  let last: E | null = null;
  try {
    for await (const event of events) {
      last = event;
      const any: AnyEvent = event;
      if (any.type === 'phase' || any.type === 'progress' || any.type === 'warning') progress.show(shownRecord(any));
      else if (any.type === 'token') terminal.out.write(`${jsonLine({ type: 'token', ...any.token })}\n`);
      else terminal.out.write(`${jsonLine(any)}\n`);
    }
  } finally {
    progress.status.clear();
  }
  return last;
}
