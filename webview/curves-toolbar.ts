/** Which runs are shown, how, and the exports. */
import type { CurveRun, ExportFormat } from '../protocol/webview.ts';
import type { CurvesState } from './chart-model.ts';
import { element, replace } from './dom.ts';
import { t } from './texts.ts';
import { button, checkbox, dropdown, slider } from './toolkit.ts';

export interface Toolbar {
  readonly root: HTMLElement;
  show(runs: readonly CurveRun[], state: CurvesState): void;
}

export interface ToolbarEvents {
  change(next: Partial<CurvesState>): void;
  resetZoom(): void;
  export(format: ExportFormat): void;
}

export function createToolbar(events: ToolbarEvents): Toolbar {
  const runBox = element('div', { class: 'group runs' });
  const compareList = element('div', { class: 'menu' });
  const compare = element('details', { class: 'popup' }, element('summary', {}, t('Compare')), compareList);
  const scaleBox = element('div', { class: 'group' });
  const smoothing = slider(t('Smoothing'), 0.8, { min: 0, max: 0.99, step: 0.01 }, (value) =>
    events.change({ smoothing: value }),
  );
  const amount = element('output');
  const reset = button(t('Show All'), 'secondary', () => events.resetZoom());
  const exportList = element('div', { class: 'menu' });
  const exports = element('details', { class: 'popup' }, element('summary', {}, t('Export')), exportList);
  for (const format of ['svg', 'png', 'csv'] as const) {
    const item = button(format.toUpperCase(), 'secondary', () => {
      exports.open = false;
      events.export(format);
    });
    item.dataset.format = format;
    exportList.append(item);
  }
  for (const popup of [compare, exports]) {
    popup.addEventListener('keydown', ({ key }) => {
      if (key === 'Escape') popup.open = false;
    });
    document.addEventListener('click', ({ target }) => {
      if (target instanceof Node && !popup.contains(target)) popup.open = false;
    });
  }
  const root = element(
    'div',
    { class: 'toolbar' },
    runBox,
    compare,
    scaleBox,
    element('label', { class: 'group' }, t('Smoothing'), smoothing, amount),
    element('div', { class: 'spacer' }),
    reset,
    exports,
  );
  let shown = '';

  return {
    root,
    show(runs, state) {
      amount.textContent = state.smoothing.toFixed(2);
      smoothing.value = String(state.smoothing);
      reset.hidden = state.zoom === null;
      const key = JSON.stringify([
        runs.map(({ id, title }) => [id, title]),
        state.front,
        state.compared,
        state.logarithmic,
      ]);
      if (key === shown) return;
      shown = key;
      const choices = runs.map((run) => ({ value: run.id, label: runLabel(run) }));
      const change = (front: string): void => events.change({ front, zoom: null });
      replace(runBox, dropdown(t('Run'), choices, state.front ?? '', change));
      compare.hidden = runs.length < 2;
      replace(
        compareList,
        ...runs
          .filter((run) => run.id !== state.front)
          .map((run) =>
            checkbox(runLabel(run), state.compared.includes(run.id), (on) => {
              const others = state.compared.filter((id) => id !== run.id);
              events.change({ compared: on ? [...others, run.id] : others });
            }),
          ),
      );
      const scale = (logarithmic: boolean, label: string): HTMLElement => {
        const made = button(label, state.logarithmic === logarithmic ? 'primary' : 'secondary', () =>
          events.change({ logarithmic }),
        );
        made.setAttribute('aria-pressed', String(state.logarithmic === logarithmic));
        return made;
      };
      replace(scaleBox, scale(false, t('Linear')), scale(true, t('Log')));
    },
  };
}

const runLabel = (run: CurveRun): string => {
  const time = new Date(run.startedAt).toLocaleString(document.documentElement.lang || 'en', {
    dateStyle: 'short',
    timeStyle: 'short',
  });
  return `${run.title} · ${time}`;
};
