/** Makes events safe for a terminal: their names, messages and tokens may come from files and networks of others. */
import type { JobEvents } from '../../../protocol/jobs.ts';
import type { CommandName } from '../../../protocol/options/options.ts';
import { shown, shownRecord } from '../../../protocol/shown.ts';
import type { Terminal } from './terminal.ts';

/** What generated text may do in a terminal. */
const layout = { keep: '\n\t', limit: Infinity };

/** Generated text that goes into a file stays exact. */
export async function* shownEvents<E extends JobEvents[CommandName]>(
  events: AsyncIterable<E>,
  { out }: Terminal,
): AsyncGenerator<E, void> {
  for await (const event of events) {
    if (event.type === 'generated') yield event;
    else if (event.type !== 'token') yield shownRecord(event);
    else yield { ...event, token: { ...event.token, text: textFor(out, event.token.text) } };
  }
}

/** Text of a model or a user as it may be written to an output. */
export const textFor = (out: Terminal['out'], text: string): string => (out.isTerminal ? shown(text, layout) : text);
