/** Which runs are shown, how, and the exports. */
import type { CurveRun, ExportFormat } from '../protocol/webview.ts';
import type { CurvesState } from './chart-model.ts';
import { popup } from './popup.ts';
import { element, replace, say } from './dom.ts';
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
  const compare = popup(t('Compare'));
  const viewBox = element('div', { class: 'group' });
  const scaleBox = element('div', { class: 'group' });
  const smoothing = slider(t('Smoothing'), 0.8, { min: 0, max: 0.99, step: 0.01 }, (value) =>
    events.change({ smoothing: value }),
  );
  const amount = element('output');
  const reset = button(t('Show All'), 'secondary', () => events.resetZoom());
  const exports = popup(t('Export'));
  for (const format of ['svg', 'png', 'csv'] as const) {
    const item = button(format.toUpperCase(), 'secondary', () => {
      exports.close();
      events.export(format);
    });
    item.dataset.format = format;
    exports.menu.append(item);
  }
  const root = element(
    'div',
    { class: 'toolbar' },
    runBox,
    compare.root,
    viewBox,
    scaleBox,
    element('label', { class: 'group' }, t('Smoothing'), smoothing, amount),
    element('div', { class: 'spacer' }),
    reset,
    exports.root,
  );
  const gap = choice(t('Gap to Final'), () => events.change({ view: 'gap' }));
  const loss = choice(t('Loss'), () => events.change({ view: 'loss' }));
  const linear = choice(t('Linear'), () => events.change({ logarithmic: false }));
  const log = choice(t('Log'), () => events.change({ logarithmic: true }));
  viewBox.append(gap.root, loss.root);
  scaleBox.append(linear.root, log.root);
  let listed = '';
  let front = '';
  let list: ReturnType<typeof dropdown> | null = null;
  let compared: readonly string[] = [];

  /** A list that is open must not be made anew under the finger, nor one that has the focus. */
  const showRuns = (runs: readonly CurveRun[], state: CurvesState): void => {
    const key = JSON.stringify(runs.map(({ id, title }) => [id, title]));
    const now = state.front ?? '';
    if (key === listed && now === front) return;
    // For a single run the title above is enough.
    runBox.hidden = compare.root.hidden = runs.length < 2;
    if (list && key === listed) list.value = now;
    else {
      const choices = runs.map(({ id, title }) => ({ value: id, label: title }));
      list = dropdown(t('Run'), choices, now, (chosen) => events.change({ front: chosen, zoom: null }));
      replace(runBox, list);
    }
    [listed, front] = [key, now];
    replace(
      compare.menu,
      ...runs
        .filter((run) => run.id !== now)
        .map((run) =>
          checkbox(run.title, state.compared.includes(run.id), (on) => {
            const others = compared.filter((id) => id !== run.id);
            events.change({ compared: on ? [...others, run.id] : others });
          }),
        ),
    );
  };

  return {
    root,
    show(runs, state) {
      say(amount, state.smoothing.toFixed(2));
      smoothing.value = String(state.smoothing);
      reset.hidden = state.zoom === null;
      ({ compared } = state);
      showRuns(runs, state);
      gap.press(state.view === 'gap');
      loss.press(state.view === 'loss');
      scaleBox.hidden = state.view === 'gap';
      linear.press(!state.logarithmic);
      log.press(state.logarithmic);
    },
  };
}

/** A button of a group in which one button is chosen; it keeps the focus when it is pressed. */
function choice(label: string, act: () => void): { root: HTMLElement; press(isPressed: boolean): void } {
  const root = button(label, 'secondary', act);
  return {
    root,
    press(isPressed) {
      root.setAttribute('appearance', isPressed ? 'primary' : 'secondary');
      root.setAttribute('aria-pressed', String(isPressed));
    },
  };
}
