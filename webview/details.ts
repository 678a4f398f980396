/** The details of a trace: the text with each token's depth, where tokens left, and what every exit said of one token. */
import { depthOf, exitLayer, type Trace } from '../protocol/exittrace.ts';
import type { ExitOpinion, TokenRecord } from '../protocol/trace.ts';
import { element, replace } from './dom.ts';
import { connectHost } from './host.ts';
import { setTexts, t } from './texts.ts';
import { button } from './toolkit.ts';

export function mountDetails(target: HTMLElement): void {
  let trace: Trace | null = null;
  let title = '';
  let selected = 0;
  let tokens: HTMLElement[] = [];
  const opinions = element('section', { class: 'opinions', 'aria-live': 'polite' });

  const host = connectHost<null>((message) => {
    if (message.type === 'texts') setTexts(message.texts);
    if (message.type !== 'trace') return;
    ({ trace, title } = message);
    selected = Math.min(message.token, Math.max(0, trace.tokens.length - 1));
    draw();
  });

  const draw = (): void => {
    if (!trace || trace.tokens.length === 0) {
      return replace(target, element('div', { class: 'empty' }, t('This trace has no tokens.')));
    }
    const { layers } = trace;
    tokens = trace.tokens.map((token, i) => tokenElement(token, layers, () => select(i)));
    const text = element(
      'div',
      { class: 'tokens', role: 'listbox', tabindex: 0, 'aria-label': t('Generated tokens') },
      ...tokens,
    );
    text.addEventListener('keydown', (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === 'Enter') host.send({ type: 'reveal', token: selected });
      if (by === undefined) return;
      event.preventDefault();
      select(Math.min(tokens.length - 1, Math.max(0, selected + by)));
    });
    replace(
      target,
      element(
        'div',
        { class: 'details' },
        element(
          'header',
          {},
          element(
            'div',
            { class: 'title' },
            element('h1', {}, title),
            element(
              'div',
              { class: 'buttons' },
              button(t('Show in Editor'), 'secondary', () => host.send({ type: 'reveal', token: selected })),
              button(t('Open as Trace'), 'secondary', () => host.send({ type: 'open' })),
            ),
          ),
          summary(trace),
        ),
        histogram(trace),
        text,
        opinions,
      ),
    );
    select(selected);
  };

  const select = (index: number): void => {
    tokens[selected]?.setAttribute('aria-selected', 'false');
    selected = index;
    tokens[index]?.setAttribute('aria-selected', 'true');
    tokens[index]?.scrollIntoView({ block: 'nearest' });
    const token = trace?.tokens[index];
    if (trace && token) replace(opinions, ...opinionTable(token, trace.layers));
  };

  host.send({ type: 'ready' });
}

function tokenElement(token: TokenRecord, layers: number, act: () => void): HTMLElement {
  const made = element(
    'span',
    {
      class: `token depth-${depthOf(token.layer, layers)}`,
      role: 'option',
      'aria-selected': 'false',
      'aria-label': t('{0}, layer {1} of {2}', visible(token.text), token.layer, layers),
      title: t('layer {0} of {1}', token.layer, layers),
    },
    token.text === '' ? '∅' : token.text.replaceAll('\n', '⏎\n'),
  );
  made.addEventListener('click', act);
  return made;
}

function summary({ tokens, layers, model, policy }: Trace): HTMLElement {
  const mean = tokens.reduce((sum, token) => sum + token.layer, 0) / tokens.length;
  const figures = [
    [t('model'), model],
    [t('policy'), policy],
    [t('tokens'), String(tokens.length)],
    [t('mean layer'), t('{0} of {1}', mean.toFixed(1), layers)],
    [t('fewer layers'), `${(layers / mean).toFixed(1)}×`],
  ].filter(([, value]) => value !== '');
  return element(
    'dl',
    { class: 'figures' },
    ...figures.map(([name, value]) => element('div', {}, element('dt', {}, name!), element('dd', {}, value!))),
  );
}

/** The share of tokens that left at each exit, as one bar. */
function histogram({ tokens, exits, layers }: Trace): HTMLElement {
  const counts = new Map<string, number>(exits.map((exit) => [exit, 0]));
  for (const { exit } of tokens) counts.set(exit, (counts.get(exit) ?? 0) + 1);
  const parts = [...counts].filter(([, count]) => count > 0);
  return element(
    'div',
    {
      class: 'histogram',
      role: 'img',
      'aria-label': parts.map(([exit, count]) => `${exit}: ${share(count / tokens.length)}`).join(', '),
    },
    ...parts.map(([exit, count]) => {
      const part = element(
        'div',
        { class: `part depth-${depthOf(exitLayer(exit, layers), layers)}`, title: `${exit}: ${count}` },
        element('span', {}, exit),
        element('span', {}, share(count / tokens.length)),
      );
      part.style.flexGrow = String(count);
      return part;
    }),
  );
}

function opinionTable(token: TokenRecord, layers: number): HTMLElement[] {
  const heading = element(
    'h2',
    {},
    element('code', {}, visible(token.text)),
    ' ',
    t('left at layer {0} of {1}, {2} sure', token.layer, layers, share(token.confidence)),
  );
  if (!token.opinions?.length) return [heading];
  const head = [t('exit'), t('says'), t('sure'), '', t('also')].map((name) => element('th', { scope: 'col' }, name));
  const rows = token.opinions.map((opinion) => opinionRow(opinion, token, layers));
  return [
    heading,
    element('table', {}, element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows)),
  ];
}

function opinionRow(opinion: ExitOpinion, token: TokenRecord, layers: number): HTMLElement {
  const bar = element('div', { class: `sureness depth-${depthOf(opinion.layer, layers)}` });
  bar.style.width = `${100 * opinion.confidence}%`;
  const others = opinion.candidates.filter(({ id }) => id !== opinion.token?.id);
  const right = opinion.token?.id === token.id;
  return element(
    'tr',
    { class: opinion.exit === token.exit ? 'left-here' : '' },
    element('th', { scope: 'row' }, opinion.exit),
    element(
      'td',
      { class: right ? 'same' : '' },
      opinion.token === null ? element('em', {}, t('defers')) : element('code', {}, visible(opinion.token.text)),
    ),
    element('td', { class: 'number' }, share(opinion.confidence)),
    element('td', { class: 'meter' }, bar),
    element(
      'td',
      { class: 'others' },
      ...others.flatMap(({ text, probability }) => [element('code', {}, visible(text)), ` ${share(probability)} `]),
    ),
  );
}

const share = (value: number): string => `${(100 * value).toFixed(value > 0.0995 && value < 0.9995 ? 0 : 1)} %`;

const visible = (text: string): string =>
  text === ''
    ? '∅'
    : text
        .replaceAll('\n', '⏎')
        .replaceAll('\t', '→')
        .replaceAll(/^ +| +$/g, (blanks) => '·'.repeat(blanks.length));
