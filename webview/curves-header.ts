/** Title, state, progress, figures and plan of the run in front, with the buttons that steer it. */
import type { CurvePlan, CurveRun, ViewMessage } from '../protocol/webview.ts';
import type { RunState } from '../protocol/server.ts';
import { element, redraw, replace, say } from './dom.ts';
import { doneShare, duration, partNames, planParts, type PartName, type PlanPart } from './run-figures.ts';
import { t } from './texts.ts';
import { button } from './toolkit.ts';

export interface Header {
  readonly root: HTMLElement;
  show(run: CurveRun, plan: CurvePlan | null): void;
}

export function createHeader(send: (message: ViewMessage) => void): Header {
  const title = element('h1');
  const badge = element('span', { class: 'badge' });
  const buttons = element('div', { class: 'buttons' });
  const progress = element('div', {
    class: 'progress',
    role: 'progressbar',
    'aria-label': t('Progress'),
    'aria-valuemin': 0,
    'aria-valuemax': 100,
  });
  const figures = element('dl', { class: 'figures' });
  const minutes = element('dl', { class: 'figures plan', 'aria-label': t('How the run spends its minutes') });
  const message = element('p', { class: 'message' });
  const root = element(
    'header',
    {},
    element('div', { class: 'title' }, title, badge, buttons),
    progress,
    element('div', { class: 'status' }, figures, message),
    minutes,
  );
  let shownButtons = '';

  return {
    root,
    show(run, plan) {
      title.textContent = run.title;
      badge.textContent = stateText(run.state);
      badge.dataset.state = run.state;
      const share = doneShare(run);
      progress.setAttribute('aria-valuenow', String(Math.round(100 * share)));
      const parts = plan && run.state !== 'finished' ? planParts(plan, run.spent ?? 0) : [];
      replace(progress, ...(parts.length > 0 ? parts.map(planBar) : [planBar({ seconds: 1, done: share })]));
      const isRunning = run.state === 'running';
      // A run by minutes first measures this machine; what comes then is known, only not for how long.
      const isPlanning = plan === null && isRunning && run.byMinutes;
      replace(minutes, ...(isPlanning ? partNames.map(unplanned) : parts.map((part) => planFigure(part, isRunning))));
      replace(figures, ...runFigures(run));
      // The message is not shown if badge and figures already say it.
      const isSaid = run.state === 'finished' || /^Step \d/.test(run.message);
      say(message, isSaid ? '' : run.message);
      message.classList.toggle('failure', run.state === 'failed');
      const role = run.state === 'failed' ? 'alert' : 'status';
      if (message.getAttribute('role') !== role) message.setAttribute('role', role);
      const key = `${run.id} ${run.state} ${run.step > 0}`;
      if (key === shownButtons) return; // a button that is pressed must not vanish under the finger
      shownButtons = key;
      const act = (type: 'pause' | 'resume' | 'stop' | 'calibrate') => (): void => send({ type, run: run.id });
      const steer =
        run.state === 'running'
          ? [button(t('Pause'), 'secondary', act('pause')), button(t('Stop'), 'secondary', act('stop'))]
          : run.state === 'finished'
            ? [button(t('Calibrate'), 'secondary', act('calibrate'))]
            : [button(run.step > 0 ? t('Resume') : t('Start Again'), 'primary', act('resume'))];
      redraw(buttons, ...steer);
    },
  };
}

/** For a run that has ended, its result; for one that has not, its progress. */
function runFigures(run: CurveRun): HTMLElement[] {
  const { state, step, steps, spent, left } = run;
  if (state === 'finished')
    return [
      figure(t('updates'), number(step)),
      ...(spent !== null && spent > 0 ? [figure(t('took'), duration(spent))] : []),
    ];
  const isGuess = run.byMinutes || steps === 0;
  return [
    figure(t('step'), isGuess ? number(step) : t('{0} of {1}', number(step), number(steps))),
    ...(run.tokensPerSecond > 0 ? [figure(t('tokens per second'), number(run.tokensPerSecond))] : []),
    ...(state === 'running' && left !== null ? [figure(t('left'), duration(left))] : []),
  ];
}

/** A bar as wide as a part's share of the minutes, filled by the share of the part that is over. */
function planBar({ seconds, done }: Pick<PlanPart, 'seconds' | 'done'>): HTMLElement {
  const fill = element('div', { class: 'bar' });
  fill.style.width = `${100 * done}%`;
  const part = element('div', { class: 'part' }, fill);
  part.style.flexGrow = String(seconds);
  return part;
}

function planFigure({ part, seconds, done }: PlanPart, isRunning: boolean): HTMLElement {
  const made = figure(partText(part), `${done === 1 ? '✓ ' : ''}${duration(seconds)}`);
  if (isRunning && done > 0 && done < 1) made.setAttribute('aria-current', 'step');
  return made;
}

function unplanned(part: PartName): HTMLElement {
  const made = figure(partText(part), '…');
  if (part === 'start') made.setAttribute('aria-current', 'step');
  return made;
}

const partText = (part: PartName): string =>
  ({
    start: t('start'),
    'held-out': t('held-out text'),
    fit: t('fit'),
    updates: t('updates'),
    calibration: t('calibration'),
  })[part];

const figure = (name: string, value: string): HTMLElement =>
  element('div', {}, element('dt', {}, name), element('dd', {}, value));

const number = (value: number): string =>
  value.toLocaleString(document.documentElement.lang || 'en', { maximumFractionDigits: value < 10 ? 1 : 0 });

const stateText = (state: RunState): string =>
  ({
    running: t('running'),
    paused: t('paused'),
    stopped: t('stopped'),
    finished: t('finished'),
    failed: t('failed'),
  })[state];
