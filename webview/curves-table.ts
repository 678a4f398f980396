/** The same numbers as a table, for a screen reader, and for people who like tables: every evaluation of the run in front. */
import { columnsOf, exitsOf, nearestIndex, type RunPoints, type View } from './columns.ts';
import { element, replace } from './dom.ts';
import { t } from './texts.ts';

export interface Table {
  readonly root: HTMLElement;
  show(points: RunPoints, view: View, title: string): void;
}

/** Steps that are shown if nothing was evaluated yet. */
const ROWS = 50;

export function createTable(): Table {
  const caption = element('caption');
  const head = element('tr');
  const body = element('tbody');
  const table = element('table', {}, caption, element('thead', {}, head), body);
  const root = element(
    'details',
    { class: 'table' },
    element('summary', {}, t('Show as Table')),
    element('div', {}, table),
  );
  let latest: { points: RunPoints; view: View; title: string } | null = null;
  let shown = '';

  const fill = (): void => {
    if (!latest || !root.open) return;
    const { points, view, title } = latest;
    const { training, heldOut } = columnsOf(points, view);
    const exits = exitsOf(points);
    const key = JSON.stringify([title, view, exits, training.steps.length, heldOut.steps]);
    if (key === shown) return;
    shown = key;
    const steps = heldOut.steps.length > 0 ? heldOut.steps : sample(training.steps);
    caption.textContent = view === 'gap' ? t('Gaps to the final exit of {0}', title) : t('Losses of {0}', title);
    const columns = exits.flatMap((exit) => [`${exit} ${t('training')}`, `${exit} ${t('held-out')}`]);
    replace(head, ...[t('Step'), ...columns, t('final exit')].map((name) => element('th', { scope: 'col' }, name)));
    replace(
      body,
      ...steps.map((step) => {
        const row = nearestIndex(training.steps, step);
        const evaluated = heldOut.steps.indexOf(step);
        const values = exits.flatMap((exit) => [training.values[exit]?.[row], heldOut.values[exit]?.[evaluated]]);
        const cells = [...values, heldOut.values.final?.[evaluated]].map((value) =>
          element('td', {}, value?.toFixed(3) ?? '–'),
        );
        return element('tr', {}, element('th', { scope: 'row' }, String(step)), ...cells);
      }),
    );
  };
  root.addEventListener('toggle', fill);

  return {
    root,
    show(points, view, title) {
      latest = { points, view, title };
      fill();
    },
  };
}

const sample = (steps: readonly number[]): number[] => {
  const stride = Math.max(1, Math.ceil(steps.length / ROWS));
  return steps.filter((_, i) => i % stride === 0 || i === steps.length - 1);
};
