/** Speed over agreement by threshold, as a small drawing. `sweepShape` is pure. */
import type { Sweep } from '../protocol/webview.ts';
import { ticks } from './exports.ts';
import { element, fill, replace, type Child } from './dom.ts';
import { t } from './texts.ts';

const SIZE = { width: 420, height: 190 };
const MARGIN = { top: 12, right: 16, bottom: 36, left: 44 };

export interface SweepShape {
  readonly points: readonly { readonly x: number; readonly y: number; readonly title: string }[];
  /** The chosen thresholds, measured; null if no exit is used. */
  readonly chosen: { readonly x: number; readonly y: number } | null;
  /** Of full depth: agreement 1, speed 1. */
  readonly full: { readonly x: number; readonly y: number };
  readonly across: readonly { readonly x: number; readonly text: string }[];
  readonly up: readonly { readonly y: number; readonly text: string }[];
}

/** Positions in the drawing. Thresholds with less gain at a higher cost are drawn like others: they show why they were not chosen. */
export function sweepShape({ rows, chosen }: Sweep): SweepShape {
  const all = [...rows, ...(chosen ? [chosen] : []), { agreement: 1, speedup: 1 }];
  const range = (values: readonly number[], room: number): [number, number] => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const more = Math.max(room, 0.08 * (high - low));
    return [low - more, high + more];
  };
  const [left, right] = range(
    all.map(({ agreement }) => agreement),
    0.002,
  );
  const [bottom, top] = range(
    all.map(({ speedup }) => speedup),
    0.02,
  );
  const x = (agreement: number): number =>
    MARGIN.left + ((SIZE.width - MARGIN.left - MARGIN.right) * (agreement - left)) / (right - left);
  const y = (speedup: number): number =>
    MARGIN.top + (SIZE.height - MARGIN.top - MARGIN.bottom) * (1 - (speedup - bottom) / (top - bottom));
  const place = (each: { agreement: number; speedup: number }): { x: number; y: number } => ({
    x: x(each.agreement),
    y: y(each.speedup),
  });
  return {
    points: byThreshold(rows).map((row) => ({
      ...place(row),
      title: `${t('threshold {0}', row.threshold.toFixed(2))}: ${figures(row)}`,
    })),
    chosen: chosen && place(chosen),
    full: place({ agreement: 1, speedup: 1 }),
    across: ticks(left, Math.min(1, right), 5).map((tick) => ({ x: x(tick), text: `${+(100 * tick).toFixed(2)} %` })),
    up: ticks(bottom, top, 4).map((tick) => ({ y: y(tick), text: `${tick} ×` })),
  };
}

const byThreshold = (rows: Sweep['rows']): Sweep['rows'] => [...rows].sort((a, b) => a.threshold - b.threshold);

const speedText = (speedup: number): string => `${speedup.toFixed(2)} ×`;
const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const figures = ({ agreement, speedup }: { agreement: number; speedup: number }): string =>
  `${speedText(speedup)}, ${percent(agreement)}`;

function sweepPlot(sweep: Sweep): HTMLElement {
  const { points, chosen, full, across, up } = sweepShape(sweep);
  const best = sweep.chosen
    ? t('calibrated: {0}', figures(sweep.chosen))
    : t('calibrated: no threshold keeps the promise and is faster');
  return element(
    'figure',
    { class: 'sweep' },
    element('figcaption', {}, `${t('What leaving early brings, by threshold')} · ${best}`),
    svg(
      'svg',
      { viewBox: `0 0 ${SIZE.width} ${SIZE.height}`, role: 'img', 'aria-label': best },
      ...up.flatMap(({ y, text }) => [
        svg('line', { x1: MARGIN.left, x2: SIZE.width - MARGIN.right, y1: y, y2: y, class: 'grid' }),
        svg('text', { x: MARGIN.left - 6, y: y + 4, 'text-anchor': 'end' }, text),
      ]),
      ...across.map(({ x, text }) => svg('text', { x, y: SIZE.height - 20, 'text-anchor': 'middle' }, text)),
      svg(
        'text',
        { x: SIZE.width / 2, y: SIZE.height - 4, 'text-anchor': 'middle' },
        t('tokens that are the full model’s own choice'),
      ),
      svg('polyline', { points: points.map(({ x, y }) => `${x},${y}`).join(' '), class: 'path' }),
      ...points.map(({ x, y, title }) =>
        svg('circle', { cx: x, cy: y, r: 3, class: 'point' }, svg('title', {}, title)),
      ),
      svg('circle', { cx: full.x, cy: full.y, r: 4, class: 'full' }, svg('title', {}, t('full depth'))),
      ...(chosen ? [svg('circle', { cx: chosen.x, cy: chosen.y, r: 6, class: 'chosen' }, svg('title', {}, best))] : []),
    ),
    sweepTable(sweep),
  );
}

/** The numbers of the points, which the drawing tells only a mouse. */
const sweepTable = ({ rows }: Sweep): HTMLElement =>
  element(
    'details',
    { class: 'table' },
    element('summary', {}, t('Show as Table')),
    element(
      'div',
      {},
      element(
        'table',
        {},
        element('caption', {}, t('What leaving early brings, by threshold')),
        element('thead', {}, headOf([t('Threshold'), t('Speed'), t('Agreement')])),
        element('tbody', {}, ...byThreshold(rows).map(rowOf)),
      ),
    ),
  );

const headOf = (names: readonly string[]): HTMLElement =>
  element('tr', {}, ...names.map((name) => element('th', { scope: 'col' }, name)));

const rowOf = ({ threshold, agreement, speedup }: Sweep['rows'][number]): HTMLElement =>
  element(
    'tr',
    {},
    element('th', { scope: 'row' }, threshold.toFixed(2)),
    element('td', {}, speedText(speedup)),
    element('td', {}, percent(agreement)),
  );

const svg = (tag: string, attributes: Record<string, string | number>, ...children: Child[]): Element =>
  fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);

/** The plot of the run in front, made anew if that has another sweep. */
export function createSweep(): { readonly root: HTMLElement; show(sweep: Sweep | undefined): void } {
  const root = element('div', { class: 'brought' });
  let drawn: Sweep | undefined;
  return {
    root,
    show(sweep) {
      if (sweep !== drawn) replace(root, ...(sweep ? [sweepPlot(sweep)] : []));
      drawn = sweep;
    },
  };
}
