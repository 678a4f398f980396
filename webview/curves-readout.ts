/** The legend, which is also the readout: each exit's values at the cursor's step, or the latest, with a switch for its curve. */
import { exitShade } from '../protocol/palette.ts';
import type { CurvesState } from './chart-model.ts';
import { columnsOf, nearestIndex, stepsOf, type RunPoints } from './columns.ts';
import { element, replace } from './dom.ts';
import { smoothGrowing } from './smoothing.ts';
import { t } from './texts.ts';
import type { Theme } from './theme.ts';
import { checkbox } from './toolkit.ts';

export interface Readout {
  readonly root: HTMLElement;
  /** `compared` gives the values of exits that the run in front has not. */
  show(
    front: RunPoints,
    compared: readonly RunPoints[],
    exits: readonly string[],
    state: CurvesState,
    step: number | null,
    theme: Theme,
  ): void;
  /** What it shows, as a sentence for a screen reader. */
  text(): string;
}

interface Row {
  readonly exit: string;
  readonly values: string[];
}

export function createReadout(toggle: (exit: string, shown: boolean) => void): Readout {
  const head = element('tr');
  const body = element('tbody');
  const root = element('table', { class: 'readout' }, element('thead', {}, head), body);
  let shape = '';
  let cells: HTMLElement[][] = [];
  let sentence = '';

  const build = (exits: readonly string[], hidden: readonly string[], theme: Theme): void => {
    cells = [];
    const rows = [...exits, 'final'].map((exit) => {
      const colour = exit === 'final' ? theme.foreground : theme.marks[exitShade(exit, exits)];
      const swatch = element('span', { class: exit === 'final' ? 'swatch dashed' : 'swatch' });
      swatch.style.setProperty('--colour', colour);
      const label = element('span', { class: 'exit' }, swatch, exit === 'final' ? t('final exit') : exit);
      const own = Array.from({ length: 4 }, () => element('td'));
      cells.push(own);
      const box = checkbox(label, !hidden.includes(exit), (on) => toggle(exit, on));
      return element('tr', { 'data-exit': exit }, element('th', { scope: 'row' }, box), ...own);
    });
    replace(body, ...rows);
  };

  return {
    root,
    show(front, compared, exits, state, step, theme) {
      // Without what is hidden: a switch that is made anew when it is used loses the focus.
      const next = JSON.stringify([exits, theme]);
      if (next !== shape) build(exits, state.hidden, theme);
      shape = next;
      const steps = stepsOf(front);
      const at = placeOf(steps, step);
      const evaluated = placeOf(front.heldOut.steps, step);
      const rows = [...exits, 'final'].map((exit): Row => {
        const own = [front, ...compared].find(
          ({ heldOut, training }) => exit in heldOut.values || exit in training.values,
        );
        const { agreement } = own ?? front;
        const { training, heldOut } = columnsOf(own ?? front, state.view);
        const column = training.values[exit] ?? [];
        const row = placeOf(training.steps, step);
        const smoothed = state.smoothing > 0 ? smoothGrowing(column, state.smoothing)[row] : null;
        const evaluation = placeOf(heldOut.steps, step);
        const share = agreement.values[exit]?.[evaluation] ?? null;
        const values = [nats(column[row]), nats(smoothed), nats(heldOut.values[exit]?.[evaluation]), percent(share)];
        return { exit, values };
      });
      const { heldOut } = front;
      const stepText = steps[at] === undefined ? t('Exit') : t('Step {0}', steps[at]);
      const evaluation = heldOut.steps[evaluated] === undefined ? '' : ` (${heldOut.steps[evaluated]})`;
      const titles = [stepText, t('training'), t('smoothed'), `${t('held-out')}${evaluation}`, t('agrees with final')];
      replace(head, ...titles.map((title) => element('th', { scope: 'col' }, title)));
      rows.forEach((row, i) => row.values.forEach((value, j) => (cells[i]![j]!.textContent = value)));
      sentence = [
        stepText,
        ...rows.map(({ exit, values }) => `${exit}: ${values[0] === '–' ? values[2] : values[0]}`),
      ].join(', ');
    },
    text: () => sentence,
  };
}

/** The row of a step, or the latest one. */
const placeOf = (steps: readonly number[], step: number | null): number =>
  step === null ? steps.length - 1 : nearestIndex(steps, step);

const nats = (value: number | null | undefined): string =>
  value === null || value === undefined ? '–' : value.toFixed(3);
const percent = (value: number | null): string => (value === null ? '–' : `${(100 * value).toFixed(1)} %`);
