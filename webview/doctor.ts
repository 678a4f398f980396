/** The doctor's findings: one line each, with a button if the extension can install what is missing. */
import type { Finding } from '../protocol/events.ts';
import type { Diagnosis } from '../protocol/server.ts';
import { element, redraw, replace } from './dom.ts';
import { connectHost } from './host.ts';
import { installable } from './remedies.ts';
import { t } from './texts.ts';
import { button, spinner } from './toolkit.ts';

export function mountDoctor(target: HTMLElement): void {
  const host = connectHost<null>((message) => {
    if (message.type === 'doctor') draw(message.diagnosis);
  });

  const row = ({ name, state, detail, remedy }: Finding): HTMLElement => {
    const part = installable(remedy);
    return element(
      'tr',
      { 'data-state': state },
      element('th', { scope: 'row' }, element('span', { class: 'mark' }, marks[state]), name),
      element(
        'td',
        {},
        detail,
        remedy !== null && part === null ? element('div', { class: 'remedy' }, t('To install it: {0}', remedy)) : null,
      ),
      element(
        'td',
        {},
        part === null ? null : button(t('Install {0}', part), 'primary', () => host.send({ type: 'install', part })),
      ),
    );
  };

  const draw = ({ findings, conclusion }: Diagnosis): void =>
    redraw(
      target,
      element(
        'div',
        { class: 'doctor' },
        element('h1', {}, t('What this machine offers')),
        element('p', {}, conclusion),
        element('table', {}, element('tbody', {}, ...findings.map(row))),
        element(
          'div',
          { class: 'buttons' },
          button(t('Look Again'), 'secondary', () => host.send({ type: 'look' })),
          button(t('Restart Backend'), 'secondary', () => host.send({ type: 'restart' })),
          button(t('Show Logs'), 'secondary', () => host.send({ type: 'logs' })),
          button(t('Copy Report'), 'secondary', () => host.send({ type: 'copy' })),
        ),
      ),
    );

  replace(target, element('div', { class: 'empty' }, spinner()));
  host.send({ type: 'ready' });
}

const marks = { ready: '✓', absent: '–', unusable: '✗' } as const;
