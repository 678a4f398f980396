/** The Loss Curves view: puts together header, toolbar, chart, readout and table, and redraws when something changes. */
import type { CurveRun, HostMessage } from '../protocol/webview.ts';
import { chartModel, isLogarithmic, legendExits, readState, type CurvesState } from './chart-model.ts';
import type { ChartTexts } from './chart-plot.ts';
import { createChart } from './chart.ts';
import { indexAt, noPoints, stepsOf } from './columns.ts';
import { hasPoints, noData, runNow, takeIn, type CurvesData } from './curves-data.ts';
import { exportCurves } from './curves-export.ts';
import { createHeader } from './curves-header.ts';
import { keyAction, zoomWithin } from './curves-keys.ts';
import { createReadout } from './curves-readout.ts';
import { createTable } from './curves-table.ts';
import { createToolbar } from './curves-toolbar.ts';
import { element, replace } from './dom.ts';
import { connectHost, type Host } from './host.ts';
import { createSweep } from './sweep-plot.ts';
import { t, valueText } from './texts.ts';
import { onThemeChange, readTheme } from './theme.ts';
import { button, spinner } from './toolkit.ts';

export function mountCurves(target: HTMLElement): void {
  const data = noData();
  const { points } = data;
  let cursor: number | null = null;
  let theme = readTheme();
  let frame = 0;

  const host: Host<CurvesState> = connectHost((message) => receive(message));
  let state = readState(host.kept);

  const change = (next: Partial<CurvesState>): void => {
    state = { ...state, ...next };
    host.keep(state);
    soon();
  };
  const front = (): CurveRun | undefined => data.runs.find(({ id }) => id === state.front);

  const zoom = (range: [number, number] | null): void => {
    const next = zoomWithin(chartModel(points, { ...state, zoom: null }, 1).range, range);
    if (next !== 'too near') change({ zoom: next });
  };

  const header = createHeader((message) => host.send(message));
  const toolbar = createToolbar({
    change,
    resetZoom: () => zoom(null),
    export: (format) =>
      exportShown(host, format, data, { model: chartModel(points, state, chart.width()), state, theme }),
  });
  const readout = createReadout((exit, shown) => {
    change({ hidden: shown ? state.hidden.filter((each) => each !== exit) : [...state.hidden, exit] });
  });
  const table = createTable();
  const sweep = createSweep();
  const { view, chartBox, spoken, showEmpty } = layOut(header.root, toolbar.root, readout.root, sweep.root, table.root);

  const chartTexts = (): ChartTexts => ({ step: t('Step'), value: valueText(state.view), final: t('final exit') });
  const chart = createChart(chartBox, chartTexts, {
    cursor(step) {
      cursor = step;
      showReadout();
    },
    zoom,
  });

  const showReadout = (): void => {
    const run = front();
    const own = (run && points.get(run.id)) ?? noPoints();
    const compared = state.compared.flatMap((id) => points.get(id) ?? []);
    readout.show(own, compared, legendExits(points, state), state, cursor, theme);
  };

  const draw = (): void => {
    frame = 0;
    const { runs } = data;
    if (runs.length === 0) return replace(target, data.hasRuns ? emptyView(host) : waitingView());
    if (!front()) state = { ...state, front: (runs.find((run) => run.state === 'running') ?? runs[0]!).id };
    if (!view.isConnected) {
      replace(target, view);
      chart.resize();
    }
    const run = front()!;
    header.show(runNow(data, run, performance.now()), data.plans.get(run.id) ?? null);
    toolbar.show(runs, state);
    chart.draw(chartModel(points, state, chart.width()), isLogarithmic(state), theme);
    showReadout();
    showEmpty(![run.id, ...state.compared].some((id) => hasPoints(data, id)), run.state === 'running');
    sweep.show(data.sweeps.get(run.id));
    table.show(points.get(run.id) ?? noPoints(), state.view, run.title);
  };
  /** Many messages may come between two pictures. */
  const soon = (): void => {
    frame ||= requestAnimationFrame(draw);
  };

  const receive = (message: HostMessage): void => {
    if (message.type === 'show') return change({ front: message.run, zoom: null });
    takeIn(data, message, performance.now());
    soon();
  };

  /** Moves the cursor by some steps and reads its values; without a cursor, to the first step, or to the last if it goes back. */
  const moveCursor = (by: number): void => {
    const own = state.front === null ? undefined : points.get(state.front);
    const steps = own ? stepsOf(own) : [];
    const begin = by > 0 ? 0 : steps.length - 1;
    const at = !Number.isFinite(by) ? by : cursor === null ? begin : indexAt(steps, cursor) + by;
    const step = steps[Math.min(steps.length - 1, Math.max(0, at))];
    if (step === undefined) return;
    cursor = step;
    chart.moveCursor(step);
    showReadout();
    spoken.textContent = readout.text();
  };

  chartBox.addEventListener('keydown', (event) => {
    const { range } = chartModel(points, state, 1);
    const action = keyAction(event, range, cursor ?? (range[0] + range[1]) / 2);
    if (action === null) return;
    event.preventDefault();
    if (action.type === 'move') moveCursor(action.by);
    else zoom(action.range);
  });

  // Seconds go by without a message, too.
  setInterval(() => {
    if (front()?.state === 'running') soon();
  }, 1000);
  new ResizeObserver(() => {
    chart.resize();
    soon();
  }).observe(chartBox);
  onThemeChange(() => {
    theme = readTheme();
    soon();
  });
  draw();
  host.send({ type: 'ready' });
}

/** The picture of the run in front and of those that are compared, as a file. */
function exportShown(
  host: Host<CurvesState>,
  format: Parameters<typeof exportCurves>[0],
  { runs, points }: CurvesData,
  picture: Parameters<typeof exportCurves>[4],
): void {
  const { front, compared } = picture.state;
  const run = runs.find(({ id }) => id === front);
  if (!run) return;
  const shown = runs.filter(({ id }) => id === front || compared.includes(id));
  exportCurves(format, run, shown, points, picture).then(
    (message) => host.send(message),
    (error: unknown) => host.send({ type: 'failed', message: String(error) }),
  );
}

/** The parts of the view below each other, with the chart after the toolbar, and the text that a screen reader reads. */
function layOut(header: HTMLElement, toolbar: HTMLElement, ...others: readonly HTMLElement[]) {
  const waiting = element('p', { class: 'waiting' });
  const label = t('Loss curves. Arrow keys read values, plus and minus zoom, 0 shows all.');
  const chartBox = element('div', { class: 'chart', tabindex: 0, role: 'application', 'aria-label': label }, waiting);
  const spoken = element('div', { class: 'visually-hidden', 'aria-live': 'polite' });
  const view = element('div', { class: 'curves' }, header, toolbar, chartBox, ...others, spoken);
  /** Hides axes without a point; if the run goes on, a line says when the curves begin. */
  const showEmpty = (isEmpty: boolean, isRunning: boolean): void => {
    view.classList.toggle('without-points', isEmpty);
    waiting.textContent =
      isEmpty && isRunning ? t('The curves begin when the exits are evaluated for the first time.') : '';
  };
  return { view, chartBox, spoken, showEmpty };
}

const waitingView = (): HTMLElement => element('div', { class: 'empty' }, spinner(), t('Asking the backend …'));

const emptyView = (host: Host<CurvesState>): HTMLElement =>
  element(
    'div',
    { class: 'empty' },
    element('h1', {}, t('No runs yet')),
    element('p', {}, t("The model that ships and this folder's own files are enough to start.")),
    button(t('Tune Early Exits'), 'primary', () => host.send({ type: 'tune' })),
  );
