/** Options of sweeps and reports, once each. */
import { list, optionalText, text } from './options-kinds.ts';

export const sweepOptions = {
  file: optionalText({
    placeholder: 'FILE.json',
    help: 'What is tried: options of tune that all trials have, and lists of values whose every combination is a trial (docs/formats.md).',
  }),
  out: optionalText({
    placeholder: 'DIR',
    help: 'Where the exits of each trial are written; the same sweep goes on there. By default the name of the file with .sweep.',
  }),
};

export const reportOptions = {
  runs: list({
    default: [],
    notEmpty: true,
    variadic: true,
    placeholder: 'DIR…',
    help: 'Folders that tune, sweep and evaluate --tasks wrote, or folders of such.',
  }),
  out: text({ default: 'report.html', placeholder: 'FILE.html', help: 'The page to write.' }),
  figures: optionalText({
    placeholder: 'DIR',
    help: 'Writes each figure there, too: as SVG, and its numbers as CSV, Markdown and LaTeX.',
  }),
};
