/** Draws a sweep: one line per trial as it ends, then the results over seeds. */
import { userError, type UserError } from '../../protocol/errors.ts';
import type { SweepEvent, SweptGroup } from '../../protocol/events.ts';
import { plural } from '../../protocol/plural.ts';
import { inPercent, spreadText } from '../../protocol/spread-text.ts';
import { commandHere, shellWord, shorter } from './naming.ts';
import { openProgress } from './progress.ts';
import { table } from './table.ts';
import type { Stream, Terminal } from './terminal.ts';

export async function showSweep(events: AsyncIterable<SweepEvent>, { out, err }: Terminal): Promise<void> {
  const progress = openProgress(err);
  const { green, red, dim, bold } = err.colours;
  try {
    for await (const event of events) {
      if (event.type === 'trial') {
        const mark = { finished: green('✓'), earlier: dim('✓'), failed: red('✗') }[event.state];
        const rest = event.message ?? (event.state === 'earlier' ? 'done before' : '');
        progress.status.say(`${mark} ${bold(event.name)} of ${event.total}  ${event.what} ${dim(rest)}`.trimEnd());
      } else if (event.type === 'swept') {
        progress.status.clear();
        out.write(
          `\n${out.colours.bold('Trials')} ${out.colours.dim('· mean ± deviation over seeds, on held-out text')}\n`,
        );
        out.write(sweptTable(out, event.groups));
        for (const { name, message } of event.failed) out.write(`\n${out.colours.red('failed')} ${name}: ${message}\n`);
        out.write(
          `\n${out.colours.dim(`${plural(event.groups.length, 'group')} in ${event.directory}; ${commandHere()} report ${shellWord(shorter(event.directory))} draws them.`)}\n`,
        );
      } else if (event.type === 'phase' || event.type === 'progress') progress.showWithin(event);
      else progress.show(event);
    }
  } finally {
    progress.status.clear();
  }
}

/** What a sweep of which trials failed ends with. */
export function failedTrials(event: SweepEvent): UserError | null {
  if (event.type !== 'swept' || event.failed.length === 0) return null;
  const those = event.failed.length === 1 ? 'it' : 'them';
  return userError(
    'incomplete',
    `${plural(event.failed.length, 'trial')} failed.`,
    `The same command tries ${those} again.`,
  );
}

function sweptTable({ colours }: Stream, groups: readonly SweptGroup[]): string {
  const rows = groups.flatMap(({ name, seeds, exits, minutes }) =>
    exits.map(({ exit, loss, agreement }, i) => [
      i === 0 ? name : '',
      exit,
      String(seeds),
      spreadText(loss, 3, seeds),
      `${spreadText(inPercent(agreement), 1, seeds)} %`,
      i === 0 ? spreadText(minutes, 1, seeds) : '',
    ]),
  );
  const head = ['', 'exit', 'seeds', 'loss', 'agreement', 'minutes'].map(colours.dim);
  return table([head, ...rows], ['left', 'left', 'right', 'right', 'right', 'right']);
}
