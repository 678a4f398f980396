/** The details of a trace: the text in its exits' colours, the share of each exit, and every exit's prediction for one token. */
import type { Trace } from '../protocol/exittrace.ts';
import { exitShade, tokenSource, TEXT_DRAFT, tokenShade } from '../protocol/palette.ts';
import { shown } from '../protocol/shown.ts';
import type { ExitOpinion, TokenRecord } from '../protocol/trace.ts';
import { element, replace } from './dom.ts';
import { connectHost } from './host.ts';
import { t } from './texts.ts';
import { shadeClass } from './theme.ts';
import { button } from './toolkit.ts';

export function mountDetails(target: HTMLElement): void {
  let trace: Trace | null = null;
  let title = '';
  let selected = 0;
  let tokens: HTMLElement[] = [];
  const opinions = element('section', { class: 'opinions', 'aria-live': 'polite' });

  const host = connectHost<number>((message) => {
    if (message.type !== 'trace') return;
    ({ trace, title } = message);
    selected = Math.min(message.token ?? selected, Math.max(0, trace.tokens.length - 1));
    const hadFocus = document.activeElement?.getAttribute('role') === 'listbox';
    draw();
    if (hadFocus) target.querySelector<HTMLElement>('[role=listbox]')?.focus();
  });

  const draw = (): void => {
    if (!trace || trace.tokens.length === 0) {
      return replace(target, element('div', { class: 'empty' }, t('This trace has no tokens.')));
    }
    const shown = trace;
    tokens = shown.tokens.map((token, i) => tokenElement(token, shown, i, () => select(i)));
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
    host.keep(index);
    tokens[index]?.setAttribute('aria-selected', 'true');
    tokens[index]?.parentElement?.setAttribute('aria-activedescendant', tokenId(index));
    tokens[index]?.scrollIntoView({ block: 'nearest' });
    const token = trace?.tokens[index];
    if (trace && token) replace(opinions, ...opinionTable(token, trace));
  };

  if (typeof host.kept === 'number') selected = host.kept;
  host.send({ type: 'ready' });
}

const tokenId = (index: number): string => `token-${index}`;

function tokenElement(token: TokenRecord, trace: Trace, index: number, act: () => void): HTMLElement {
  const made = element(
    'span',
    {
      id: tokenId(index),
      class: `token ${shadeClass(tokenShade(token, trace.exits))}`,
      role: 'option',
      'aria-selected': 'false',
      'aria-label': `${visible(token.text)}: ${saying(token, trace.layers)}`,
      title: saying(token, trace.layers),
    },
    token.text === '' ? '∅' : shown(token.text, { limit: Infinity, keep: '\n\t' }).replaceAll('\n', '⏎\n'),
  );
  made.addEventListener('click', act);
  return made;
}

/** What predicted a token, in a few words; the lenses' hovers say the same. */
function saying({ exit, layer, draft }: TokenRecord, layers: number): string {
  if (exit !== 'final') return t('left early, after layer {0} of {1}', layer, layers);
  if (!draft) return t('predicted by the full model, all {0} layers', layers);
  if (!draft.accepted) return t('predicted by the full model; {0} had drafted another token', drafter(draft.source));
  return t('drafted by {0}, verified by the full model', drafter(draft.source));
}

const drafter = (source: string): string =>
  source === TEXT_DRAFT ? t('the earlier text') : t('exit {0}', visible(source));

function summary({ tokens, layers, model, policy, speedup }: Trace): HTMLElement {
  const mean = tokens.reduce((sum, token) => sum + token.layer, 0) / tokens.length;
  const early = tokens.filter(({ exit }) => exit !== 'final').length;
  const drafted = tokens.filter(({ exit, draft }) => exit === 'final' && draft?.accepted).length;
  const figures = [
    [t('model'), model],
    [t('mode'), policy],
    [t('tokens'), String(tokens.length)],
    early > 0 ? [t('left early'), share(early / tokens.length)] : [],
    early > 0 ? [t('layers on average'), t('{0} of {1}', mean.toFixed(1), layers)] : [],
    drafted > 0 ? [t('drafted'), share(drafted / tokens.length)] : [],
    speedup === undefined ? [] : [t('speed'), t('about {0} × full depth, estimated from passes', speedup.toFixed(1))],
  ].filter(([, value]) => value !== undefined && value !== '');
  return element(
    'dl',
    { class: 'figures' },
    ...figures.map(([name, value]) => element('div', {}, element('dt', {}, name!), element('dd', {}, shown(value!)))),
  );
}

/** The share of each exit in the tokens, and of the earlier text, as one bar. */
function histogram({ tokens, exits }: Trace): HTMLElement {
  const counts = new Map<string, number>([TEXT_DRAFT, ...exits].map((exit) => [exit, 0]));
  for (const token of tokens) counts.set(tokenSource(token), (counts.get(tokenSource(token)) ?? 0) + 1);
  const parts = [...counts].filter(([, count]) => count > 0);
  const name = (exit: string): string => (exit === TEXT_DRAFT ? t('the earlier text') : visible(exit));
  const shade = (exit: string): string => shadeClass(exit === TEXT_DRAFT ? 'text' : exitShade(exit, exits));
  const bar = parts.map(([exit, count]) => {
    const part = element('div', { class: `part ${shade(exit)}`, title: `${name(exit)}: ${count}` });
    part.style.flexGrow = String(count);
    return part;
  });
  // Beside the bar, whose parts may be too narrow for their labels.
  const legend = parts.map(([exit, count]) =>
    element(
      'div',
      { class: shade(exit) },
      element('dt', {}, element('span', { class: 'key' }), name(exit)),
      element('dd', {}, share(count / tokens.length)),
    ),
  );
  return element(
    'div',
    { class: 'shares' },
    element('div', { class: 'histogram', 'aria-hidden': 'true' }, ...bar),
    element('dl', { class: 'figures', 'aria-label': t('Share of each exit') }, ...legend),
  );
}

function opinionTable(token: TokenRecord, trace: Trace): HTMLElement[] {
  const heading = element(
    'h2',
    {},
    element('code', {}, visible(token.text)),
    ' ',
    `${saying(token, trace.layers)}, ${t('{0} sure', share(token.confidence))}`,
  );
  if (!token.opinions?.length) return [heading];
  const head = [t('exit'), t('says'), t('sure'), '', t('also')].map((name) => element('th', { scope: 'col' }, name));
  const rows = token.opinions.map((opinion) => opinionRow(opinion, token, trace.exits));
  return [
    heading,
    element('table', {}, element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows)),
  ];
}

function opinionRow(opinion: ExitOpinion, token: TokenRecord, exits: readonly string[]): HTMLElement {
  const bar = element('div', { class: `sureness ${shadeClass(exitShade(opinion.exit, exits))}` });
  bar.style.width = `${100 * opinion.confidence}%`;
  const others = opinion.candidates.filter(({ id }) => id !== opinion.token?.id);
  const right = opinion.token?.id === token.id;
  return element(
    'tr',
    { class: opinion.exit === tokenSource(token) ? 'left-here' : '' },
    element('th', { scope: 'row' }, visible(opinion.exit)),
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

/** Only what is everything is shown as 100 %. */
const share = (value: number): string =>
  `${(100 * value).toFixed(value === 1 || (value > 0.0995 && value < 0.995) ? 0 : 1)} %`;

const visible = (text: string): string =>
  text === ''
    ? '∅'
    : shown(text.replaceAll('\n', '⏎').replaceAll('\t', '→'), { limit: Infinity }).replaceAll(/^ +| +$/g, (blanks) =>
        '·'.repeat(blanks.length),
      );
