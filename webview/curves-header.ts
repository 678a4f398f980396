/** Title, state, progress, figures and plan of the run in front, with the buttons that steer it. */
import type { CurvePlan, CurveRun, ViewMessage } from '../protocol/webview.ts';
import type { RunState } from '../protocol/server.ts';
import { element, replace } from './dom.ts';
import { doneShare, duration } from './run-figures.ts';
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
  const bar = element('div', { class: 'bar' });
  const progress = element(
    'div',
    { class: 'progress', role: 'progressbar', 'aria-valuemin': 0, 'aria-valuemax': 100 },
    bar,
  );
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
      bar.style.width = `${100 * share}%`;
      progress.setAttribute('aria-valuenow', String(Math.round(100 * share)));
      const isRunning = run.state === 'running';
      replace(
        figures,
        figure(t('step'), run.steps > 0 ? t('{0} of {1}', number(run.step), number(run.steps)) : '–'),
        figure(t('tokens per second'), run.tokensPerSecond > 0 ? number(run.tokensPerSecond) : '–'),
        isRunning ? figure(t('left'), run.steps > 0 ? duration(run.secondsLeft) : '–') : null,
      );
      replace(minutes, ...(plan ? planFigures(plan) : []));
      title.title = run.title;
      // What the figures say already is not said twice.
      message.textContent = /^Step \d/.test(run.message) ? '' : run.message;
      message.classList.toggle('failure', run.state === 'failed');
      message.setAttribute('role', run.state === 'failed' ? 'alert' : 'status');
      const key = `${run.id} ${run.state} ${run.step > 0}`;
      if (key === shownButtons) return; // a button that is pressed must not vanish under the finger
      shownButtons = key;
      const act = (type: 'pause' | 'resume' | 'stop') => (): void => send({ type, run: run.id });
      const steer =
        run.state === 'running'
          ? [button(t('Pause'), 'secondary', act('pause')), button(t('Stop'), 'secondary', act('stop'))]
          : run.state === 'finished'
            ? []
            : [button(run.step > 0 ? t('Resume') : t('Start Again'), 'primary', act('resume'))];
      replace(buttons, ...steer);
    },
  };
}

function planFigures({ total, evaluation, fit, updates, calibration }: CurvePlan): HTMLElement[] {
  return [
    figure(t('planned'), duration(total)),
    figure(t('held out'), duration(evaluation)),
    ...(fit > 0 ? [figure(t('fit'), duration(fit))] : []),
    figure(t('updates'), duration(updates)),
    figure(t('calibration'), duration(calibration)),
  ];
}

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
