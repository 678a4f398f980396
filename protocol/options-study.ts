/** Options of sweeps and reports, once each. */
import { list, optionalText, text } from './options-kinds.ts';

export const sweepOptions = {
  file: optionalText({
    placeholder: 'FILE.json',
    help: 'The trials: options of tune that all share, and lists of values, of which every combination is a trial (docs/formats.md).',
  }),
  out: optionalText({
    placeholder: 'DIR',
    help: 'Folder for the exits of each trial; the same sweep resumes there. By default the name of the file with .sweep.',
  }),
};

export const reportOptions = {
  runs: list({
    default: [],
    notEmpty: true,
    variadic: true,
    placeholder: 'DIR…',
    help: 'Folders that tune, sweep and evaluate --tasks wrote, or folders that contain these.',
  }),
  out: text({ default: 'report.html', placeholder: 'FILE.html', help: 'The page to write.' }),
  figures: optionalText({
    placeholder: 'DIR',
    help: 'Folder for each figure as SVG, and its numbers as CSV, Markdown and LaTeX.',
  }),
};
