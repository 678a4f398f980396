/** Draws a sweep: one line per trial as it ends, then the results over seeds. */
import { userError, type UserError } from '../../../protocol/errors.ts';
import type { SweepEvent, SweptGroup } from '../../../protocol/events.ts';
import { plural } from '../../../protocol/plural.ts';
import { inPercent, spreadText } from '../../../protocol/spread-text.ts';
import { commandHere, shellWord, shorter } from './naming.ts';
import { drawEvents } from './progress.ts';
import { table } from './table.ts';
import type { Stream, Terminal } from './terminal.ts';

export async function showSweep(events: AsyncIterable<SweepEvent>, { out, err }: Terminal): Promise<void> {
  const { green, red, dim, bold } = err.colours;
  const { colours } = out;
  await drawEvents(events, err, {
    phase: (event, progress) => progress.showWithin(event),
    progress: (event, progress) => progress.showWithin(event),
    trial({ state, message, name, total, what }, { status }) {
      const mark = { finished: green('✓'), earlier: dim('✓'), failed: red('✗') }[state];
      const rest = message ?? (state === 'earlier' ? 'done before' : '');
      status.say(`${mark} ${bold(name)} of ${total}  ${what} ${dim(rest)}`.trimEnd());
    },
    swept({ groups, failed, directory }, { status }) {
      status.clear();
      out.write(`\n${colours.bold('Trials')} ${colours.dim('· mean ± deviation over seeds, on held-out text')}\n`);
      out.write(sweptTable(out, groups));
      for (const { name, message } of failed) out.write(`\n${colours.red('failed')} ${name}: ${message}\n`);
      out.write(
        `\n${colours.dim(`${plural(groups.length, 'group')} in ${directory}; ${commandHere()} report ${shellWord(shorter(directory))} draws them.`)}\n`,
      );
    },
  });
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
