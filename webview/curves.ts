/** The Loss Curves view: puts together header, toolbar, chart, readout and table, and redraws when something changes. */
import type { CurvePlan, CurveRun, HostMessage, Sweep } from '../protocol/webview.ts';
import { chartModel, isLogarithmic, legendExits, readState, type CurvesState } from './chart-model.ts';
import { createChart } from './chart.ts';
import { addPoints, indexAt, noPoints, type RunPoints } from './columns.ts';
import { exportCurves } from './curves-export.ts';
import { createHeader } from './curves-header.ts';
import { createReadout } from './curves-readout.ts';
import { createTable } from './curves-table.ts';
import { createToolbar } from './curves-toolbar.ts';
import { element, replace } from './dom.ts';
import { connectHost, type Host } from './host.ts';
import { later } from './run-figures.ts';
import { sweepPlot } from './sweep-plot.ts';
import { setTexts, t, valueText } from './texts.ts';
import { onThemeChange, readTheme } from './theme.ts';
import { button, spinner } from './toolkit.ts';

export function mountCurves(target: HTMLElement): void {
  const points = new Map<string, RunPoints>();
  const plans = new Map<string, CurvePlan>();
  const sweeps = new Map<string, Sweep>();
  /** The current chart, made again for another selection. */
  let drawn: Sweep | undefined;
  let runs: CurveRun[] = [];
  let hasRuns = false;
  /** The time to which the records of runs refer. */
  let received = 0;
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
  const front = (): CurveRun | undefined => runs.find(({ id }) => id === state.front);

  const zoom = (range: [number, number] | null): void => {
    const all = chartModel(points, { ...state, zoom: null }, 1).range;
    if (range === null) return change({ zoom: null });
    const from = Math.max(all[0], range[0]);
    const to = Math.min(all[1], range[1]);
    if (to - from >= all[1] - all[0]) return change({ zoom: null });
    if (to - from >= 1) change({ zoom: [from, to] });
  };

  const header = createHeader((message) => host.send(message));
  const toolbar = createToolbar({
    change,
    resetZoom: () => zoom(null),
    export: (format) => {
      const run = front();
      const model = chartModel(points, state, chart.width());
      const shown = runs.filter(({ id }) => id === state.front || state.compared.includes(id));
      if (!run) return;
      exportCurves(format, run, shown, points, { model, state, theme }).then(
        (message) => host.send(message),
        (error: unknown) => host.send({ type: 'failed', message: String(error) }),
      );
    },
  });
  const readout = createReadout((exit, shown) => {
    change({ hidden: shown ? state.hidden.filter((each) => each !== exit) : [...state.hidden, exit] });
  });
  const table = createTable();
  const brought = element('div', { class: 'brought' });
  const waiting = element('p', { class: 'waiting' });
  const chartBox = element(
    'div',
    {
      class: 'chart',
      tabindex: 0,
      role: 'application',
      'aria-label': t('Loss curves. Arrow keys read values, plus and minus zoom, 0 shows all.'),
    },
    waiting,
  );
  const spoken = element('div', { class: 'visually-hidden', 'aria-live': 'polite' });
  const view = element(
    'div',
    { class: 'curves' },
    header.root,
    toolbar.root,
    chartBox,
    readout.root,
    brought,
    table.root,
    spoken,
  );

  const chart = createChart(
    chartBox,
    () => ({ step: t('Step'), value: valueText(state.view), final: t('final exit') }),
    {
      cursor: (step) => {
        cursor = step;
        showReadout();
      },
      zoom,
    },
  );

  const showReadout = (): void => {
    const run = front();
    const own = (run && points.get(run.id)) ?? noPoints();
    const compared = state.compared.flatMap((id) => points.get(id) ?? []);
    readout.show(own, compared, legendExits(points, state), state, cursor, theme);
  };

  /** Axes without a point say nothing. */
  const showWaiting = ({ id, state: now }: CurveRun): void => {
    const hasPoints = [id, ...state.compared].some((each) => hasSteps(points.get(each)));
    view.classList.toggle('without-points', !hasPoints);
    waiting.textContent =
      !hasPoints && now === 'running' ? t('The curves begin when the exits are evaluated for the first time.') : '';
  };

  const draw = (): void => {
    frame = 0;
    if (runs.length === 0) return replace(target, hasRuns ? emptyView(host) : waitingView());
    if (!front()) state = { ...state, front: (runs.find((run) => run.state === 'running') ?? runs[0]!).id };
    if (!view.isConnected) {
      replace(target, view);
      chart.resize();
    }
    const run = front()!;
    header.show(later(run, (performance.now() - received) / 1000), plans.get(run.id) ?? null);
    toolbar.show(runs, state);
    chart.draw(chartModel(points, state, chart.width()), isLogarithmic(state), theme);
    showReadout();
    showWaiting(run);
    const sweep = sweeps.get(run.id);
    if (sweep !== drawn) replace(brought, ...(sweep ? [sweepPlot(sweep)] : []));
    drawn = sweep;
    table.show(points.get(run.id) ?? noPoints(), state.view, run.title);
  };
  /** Many messages may come between two pictures. */
  const soon = (): void => {
    frame ||= requestAnimationFrame(draw);
  };

  const receive = (message: HostMessage): void => {
    switch (message.type) {
      case 'texts':
        setTexts(message.texts);
        return soon();
      case 'runs':
        runs = message.runs;
        received = performance.now();
        hasRuns = true;
        return soon();
      case 'points': {
        const own = points.get(message.run) ?? noPoints();
        points.set(message.run, own);
        addPoints(own, message);
        return soon();
      }
      case 'plan':
        plans.set(message.run, message.plan);
        return soon();
      case 'sweep':
        sweeps.set(message.run, message.sweep);
        return soon();
      case 'show':
        return change({ front: message.run, zoom: null });
      case 'trace':
      case 'doctor':
        return;
    }
  };

  /** Left and right read step by step, with shift ten at a time; plus, minus and 0 zoom. */
  chartBox.addEventListener('keydown', (event) => {
    const steps = (state.front === null ? undefined : points.get(state.front))?.training.steps ?? [];
    const [from, to] = chartModel(points, state, 1).range;
    const center = cursor ?? (from + to) / 2;
    const move = (by: number): void => {
      const at = cursor === null ? (by > 0 ? 0 : steps.length - 1) : indexAt(steps, cursor) + by;
      const step = steps[Math.min(steps.length - 1, Math.max(0, at))];
      if (step === undefined) return;
      cursor = step;
      chart.moveCursor(step);
      showReadout();
      spoken.textContent = readout.text();
    };
    const stride = event.shiftKey ? 10 : 1;
    const keys: Record<string, () => void> = {
      ArrowLeft: () => move(-stride),
      ArrowRight: () => move(stride),
      Home: () => move(-steps.length),
      End: () => move(steps.length),
      '+': () => zoom([center - (center - from) * 0.8, center + (to - center) * 0.8]),
      '=': () => zoom([center - (center - from) * 0.8, center + (to - center) * 0.8]),
      '-': () => zoom([center - (center - from) * 1.25, center + (to - center) * 1.25]),
      '0': () => zoom(null),
    };
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
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

const hasSteps = (points: RunPoints | undefined): boolean =>
  points !== undefined && points.training.steps.length + points.heldOut.steps.length > 0;

const waitingView = (): HTMLElement => element('div', { class: 'empty' }, spinner(), t('Asking the backend …'));

const emptyView = (host: Host<CurvesState>): HTMLElement =>
  element(
    'div',
    { class: 'empty' },
    element('h1', {}, t('No runs yet')),
    element('p', {}, t("The model that ships and this folder's own files are enough to start.")),
    button(t('Tune Early Exits'), 'primary', () => host.send({ type: 'tune' })),
  );
