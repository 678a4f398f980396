/** Draws runs as one page, and, on request, each figure as files of its own. */
import { basename, join, resolve } from 'node:path';
import { plural } from '../../protocol/plural.ts';
import { userError } from '../../protocol/errors.ts';
import type { ReportEvent } from '../../protocol/events.ts';
import type { ReportOptions } from '../../protocol/options/options.ts';
import { tableOf, type Figure } from '../evaluation/report/figure.ts';
import { csv, latex, markdown } from '../evaluation/report/formats.ts';
import { page, sectionsOf } from '../evaluation/report/page.ts';
import { findRuns } from '../evaluation/report/runs.ts';
import { svg } from '../evaluation/report/svg.ts';
import { writeFileAtomically } from '../system/files.ts';

/** @throws UserError if there are no runs, or a file cannot be written. */
export async function* report(options: ReportOptions, signal: AbortSignal): AsyncGenerator<ReportEvent, void> {
  const { runs: paths, out, figures } = options;
  if (paths.length === 0)
    throw userError(
      'bad-argument',
      'There is no run to report.',
      'Name folders that tune, sweep or evaluate --tasks wrote.',
    );
  yield { type: 'phase', phase: 'load', detail: plural(paths.length, 'folder') };
  const runs = findRuns(paths);
  signal.throwIfAborted();
  for (const run of runs)
    if (run.kind === 'broken') yield { type: 'warning', message: `${run.name} cannot be read: ${run.why}` };
  const sections = sectionsOf(runs);
  yield { type: 'phase', phase: 'save', detail: out };
  const title = `Early Exit: ${paths.map((path) => basename(resolve(path))).join(', ')}`;
  writeFileAtomically(out, [page(title, sections)], 'umask');
  const files = [out];
  if (figures !== null)
    for (const figure of sections.flatMap((section) => section.figures))
      for (const [ending, text] of filesOf(figure)) {
        const file = join(figures, `${figure.id}.${ending}`);
        writeFileAtomically(file, [text], 'umask');
        files.push(file);
      }
  yield { type: 'saved', path: '.', files };
}

function filesOf(figure: Figure): (readonly [ending: string, text: string])[] {
  const table = tableOf(figure);
  const tables = [
    ['csv', csv(table)],
    ['md', markdown(table)],
    ['tex', latex(table)],
  ] as const;
  return figure.kind === 'table' ? [...tables] : [...tables, ['svg', svg(figure, true)]];
}
