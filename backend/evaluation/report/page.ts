/** A report as one file of HTML that needs nothing else: light and dark, on paper too. The same runs give the same bytes. */
import { plural } from '../../../protocol/plural.ts';
import { tableOf, type Figure } from './figure.ts';
import { escaped } from './formats.ts';
import type { EvaluationRun, Run, TuningRun } from './runs.ts';
import { svg, svgStyle } from './svg.ts';
import { taskFigures } from './task-figures.ts';
import { comparison, runFigures } from './tuning-figures.ts';

export interface Section {
  readonly title: string;
  /** Such as `unfinished`; null if there is no warning. */
  readonly state: string | null;
  /** One line that describes the item. */
  readonly facts: string;
  readonly figures: readonly Figure[];
}

/** Runs of tuning beside each other first, then each run. */
export function sectionsOf(runs: readonly Run[]): Section[] {
  const tuned = runs.filter((run): run is TuningRun => run.kind === 'tuning');
  const models = [...new Set(tuned.map(({ model }) => model))];
  const together = models.flatMap((model): Section[] => {
    const own = tuned.filter((run) => run.model === model && run.isFinished);
    if (own.length < 2) return [];
    const figures = comparison(own, `all-${models.indexOf(model) + 1}`);
    return [{ title: `Tuning of ${model}`, state: null, facts: plural(own.length, 'run'), figures }];
  });
  return distinct([...together, ...runs.map(sectionOf)]);
}

/** Runs may have one name: their figures' ids, which name files, get a number. */
function distinct(sections: readonly Section[]): Section[] {
  const seen = new Map<string, number>();
  const idOf = (id: string): string => {
    const times = (seen.get(id) ?? 0) + 1;
    seen.set(id, times);
    return times === 1 ? id : idOf(`${id}-${times}`);
  };
  return sections.map((section) => ({
    ...section,
    figures: section.figures.map((figure) => ({ ...figure, id: idOf(figure.id) })),
  }));
}

function sectionOf(run: Run): Section {
  switch (run.kind) {
    case 'broken':
      return { title: run.name, state: 'cannot be read', facts: run.why, figures: [] };
    case 'tuning':
      return {
        title: run.name,
        state: run.isFinished ? null : 'unfinished',
        facts: `${run.model}, ${run.layers} layers, exits ${run.exits.join(', ')}`,
        figures: runFigures(run),
      };
    case 'evaluation':
      return { title: run.name, state: stateOf(run), facts: factsOf(run), figures: taskFigures(run) };
  }
}

const stateOf = ({ progress: { done, asked } }: EvaluationRun): string | null =>
  done === asked ? null : `unfinished: the slowest way has ${done} of ${plural(asked, 'task')}`;

function factsOf({ evaluation: { identity, about } }: EvaluationRun): string {
  const exits = identity.exits.length > 0 ? `, exits ${identity.exits.join(', ')}` : ', no exits';
  return `${identity.model}, ${identity.layers} layers${exits} · ${about.device}${about.processor ? ` · ${about.processor}` : ''}`;
}

/** `title`: of the page. */
export function page(title: string, sections: readonly Section[]): string {
  const contents = sections
    .map((section, i) => `<li><a href="#s${i}">${escaped(section.title)}</a>${badge(section)}</li>`)
    .join('');
  const body = sections
    .map(
      (section, i) =>
        `<section id="s${i}"><h2>${escaped(section.title)}${badge(section)}</h2><p class="facts">${escaped(section.facts)}</p>${section.figures.map(drawn).join('')}</section>`,
    )
    .join('\n');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escaped(title)}</title><style>${style}${svgStyle}</style></head>
<body data-view="report"><h1>${escaped(title)}</h1><nav><ul>${contents}</ul></nav>
${body}
</body></html>
`;
}

const badge = ({ state }: Section): string => (state === null ? '' : ` <span class="state">${escaped(state)}</span>`);

function drawn(figure: Figure): string {
  const picture = figure.kind === 'table' ? '' : svg(figure);
  const table = htmlTable(figure);
  const numbers = picture === '' ? table : `<details><summary>Numbers</summary>${table}</details>`;
  return `<figure id="${figure.id}"><h3>${escaped(figure.title)}</h3>${picture}${numbers}<figcaption>${escaped(figure.note)}</figcaption></figure>`;
}

function htmlTable(figure: Figure): string {
  const { head, rows } = tableOf(figure);
  const cells = (row: readonly string[], tag: 'td' | 'th'): string =>
    row.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join('');
  return `<div class="wide"><table><thead><tr>${cells(head, 'th')}</tr></thead><tbody>${rows.map((row) => `<tr>${cells(row, 'td')}</tr>`).join('')}</tbody></table></div>`;
}

const style = [
  ':root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;background:#fff;color:#222}',
  'h2{margin-top:3rem;border-top:1px solid #ccc;padding-top:1rem}figure{margin:1.5rem 0}figcaption,.facts{color:#666;font-size:.9em}svg{max-width:100%;height:auto}',
  'table{border-collapse:collapse;font-size:.85em;font-variant-numeric:tabular-nums}th,td{padding:.2em .6em;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}',
  'th:first-child,td:first-child{text-align:left}.wide{overflow-x:auto}.state{font-size:.7em;color:#b00020;border:1px solid;border-radius:4px;padding:0 .4em;font-weight:normal}',
  '@media(prefers-color-scheme:dark){body{background:#1e1e1e;color:#ddd}figcaption,.facts{color:#aaa}th,td{border-color:#444}h2{border-color:#444}a{color:#6cb2ff}.state{color:#ff8a80}}',
  '@media print{body{max-width:none;margin:0;background:#fff;color:#000}nav{display:none}figure{break-inside:avoid}details>*{display:block}}',
].join('');
