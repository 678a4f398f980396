/** Draws figures as SVG, in colours that follow the reader's theme. The same figure gives the same bytes. */
import { palette, shades } from '../../../protocol/palette.ts';
import { figureText, type BarsFigure, type LinesFigure, type Series } from './figure.ts';
import { escaped } from './formats.ts';

const width = 720;
const height = 340;
const plot = { left: 64, right: width - 16, top: 16, bottom: height - 48 };

/** What every drawing needs: the editor's colours of exits, light and dark. */
export const svgStyle = [
  'text{font:12px system-ui,sans-serif;fill:#333}.grid{stroke:#ddd}.axis{stroke:#888}.level{stroke:#888;stroke-dasharray:4 4}.ring{stroke:#888;fill:none;stroke-width:2}',
  ...shades.map((shade) => colours(shade, palette[shade].mark.light)),
  `@media(prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#3a3a3a}${shades.map((shade) => colours(shade, palette[shade].mark.dark)).join('')}}`,
  '@media print{text{fill:#000}}',
].join('');

function colours(shade: string, colour: string): string {
  return `.l-${shade}{stroke:${colour};fill:none;stroke-width:2}.f-${shade}{fill:${colour}}.b-${shade}{fill:${colour};opacity:.18}`;
}

/** `withStyle`: for a file of its own. */
export function svg(figure: LinesFigure | BarsFigure, withStyle = false): string {
  const style = withStyle ? `<style>${svgStyle}</style>` : '';
  const drawn = figure.kind === 'lines' ? lines(figure) : bars(figure);
  const dashes = figure.kind === 'lines' ? dashesOf(figure.series) : [];
  const names: Named[] = figure.series.map(({ name, shade }, i) => ({ name, shade, dash: dashes[i] ?? '' }));
  if (figure.kind === 'lines' && figure.ringed) names.push({ name: figure.ringed, shade: null, dash: '' });
  const total = height + legendHeight(names);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${total}" role="img" aria-label="${escaped(figure.title)}">${style}${drawn}${legend(names)}</svg>`;
}

interface Scale {
  readonly ticks: readonly number[];
  at(value: number): number;
}

/** Round steps of 1, 2 or 5 that enclose all values. */
function scale(values: readonly number[], from: number, to: number): Scale {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (!(high > low)) [low, high] = [low - 0.5, high + 0.5];
  const raw = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * (raw / power <= 1 ? 1 : raw / power <= 2 ? 2 : raw / power <= 5 ? 5 : 10);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  const [a, b] = [ticks[0]!, ticks.at(-1)!];
  return { ticks, at: (value) => from + ((value - a) / (b - a)) * (to - from) };
}

const textHeight = 12;

const n = (value: number): string => String(Math.round(value * 10) / 10);

/** A run that diverged has values that cannot be drawn, beside others that can. */
const isDrawn = ({ x, y, low = y, high = y }: { x: number; y: number; low?: number; high?: number }): boolean =>
  [x, y, low, high].every(Number.isFinite);

function lines({ series: given, x, y, level: stated }: LinesFigure): string {
  const series = given.map((each) => ({ ...each, points: each.points.filter(isDrawn) }));
  const level = stated && Number.isFinite(stated.y) ? stated : null;
  const points = series.flatMap(({ points: own }) => own);
  if (points.length === 0) return `<text x="${plot.left}" y="${height / 2}">nothing yet</text>`;
  const across = scale(
    points.map((point) => point.x),
    plot.left,
    plot.right,
  );
  const heights = points.flatMap((point) => [point.y, point.low ?? point.y, point.high ?? point.y]);
  const up = scale(level ? [...heights, level.y] : heights, plot.bottom, plot.top);
  const parts = [frame(across, up, x, y)];
  if (level) {
    const at = n(up.at(level.y));
    parts.push(`<line class="level" x1="${plot.left}" x2="${plot.right}" y1="${at}" y2="${at}"/>`);
    parts.push(`<text x="${plot.right}" y="${n(up.at(level.y) - 4)}" text-anchor="end">${escaped(level.name)}</text>`);
  }
  const dotted = series.filter(({ isLine }) => !isLine).flatMap(({ points: own }) => own);
  const taken: Taken = {
    level: level ? up.at(level.y) : null,
    points: dotted.map((point) => ({ x: across.at(point.x), y: up.at(point.y) })),
    labels: [],
  };
  const dashes = dashesOf(series);
  for (const [i, one] of series.entries())
    parts.push(one.isLine ? curve(one, dashes[i]!, across, up) : dots(one, across, up, taken));
  return parts.join('');
}

/** Of each line: those of one colour have different ones. */
function dashesOf(series: readonly Series[]): string[] {
  const before = new Map<string, number>();
  return series.map(({ shade, isLine }) => {
    if (!isLine) return '';
    const nth = before.get(shade) ?? 0;
    before.set(shade, nth + 1);
    return dashPatterns[nth % dashPatterns.length]!;
  });
}
const dashPatterns = ['', '8 3', '2 3', '8 3 2 3', '14 4', '14 4 2 4'];
const dashed = (dash: string): string => (dash === '' ? '' : ` stroke-dasharray="${dash}"`);

function curve({ points, shade, name }: Series, dash: string, across: Scale, up: Scale): string {
  const sorted = [...points].sort((a, b) => a.x - b.x);
  const path = (of: readonly { x: number; y: number }[]): string =>
    of.map((point, i) => `${i === 0 ? 'M' : 'L'}${n(across.at(point.x))} ${n(up.at(point.y))}`).join('');
  const whole = sorted.filter(({ low, high }) => low !== undefined && high !== undefined);
  const edge = [
    ...whole.map(({ x, high }) => ({ x, y: high! })),
    ...whole.toReversed().map(({ x, low }) => ({ x, y: low! })),
  ];
  const band = whole.length > 1 ? `<path class="b-${shade}" d="${path(edge)}Z"/>` : '';
  // A path of one point is not drawn.
  const [only] = sorted.length === 1 ? sorted : [];
  const point = only
    ? `<circle class="f-${shade}" cx="${n(across.at(only.x))}" cy="${n(up.at(only.y))}" r="${radius}"/>`
    : '';
  return `${band}<path class="l-${shade}"${dashed(dash)} d="${path(sorted)}"><title>${escaped(name)}</title></path>${point}`;
}

/** What no label shall cover: the level's line, the points, and earlier labels, where they are drawn. */
interface Taken {
  readonly level: number | null;
  readonly points: readonly { readonly x: number; readonly y: number }[];
  readonly labels: { readonly left: number; readonly right: number; readonly y: number }[];
}

/** A label begins beside its point, above it or, where that covers something, below. */
const labelPlaces = { x: 6, y: [-6, 16] } as const;
const [letterWidth, radius, ringRadius] = [6.5, 4, 8];

function labelAt(
  label: string,
  point: { readonly x: number; readonly y: number },
  taken: Taken,
): [x: number, y: number] {
  const long = letterWidth * label.length;
  // Beside the edge it ends before the point.
  const left = point.x + labelPlaces.x + long > width ? point.x - labelPlaces.x - long : point.x + labelPlaces.x;
  const right = left + long;
  const isFree = (y: number): boolean => {
    const holds = (at: number, margin: number): boolean => y - textHeight - margin < at && at < y + 2 + margin;
    const isCovered = taken.points.some((at) => left - radius < at.x && at.x < right + radius && holds(at.y, radius));
    const isWritten = taken.labels.some((at) => left < at.right && at.left < right && Math.abs(at.y - y) < textHeight);
    return !isCovered && !isWritten && !(taken.level !== null && holds(taken.level, 0));
  };
  const heights = labelPlaces.y.map((below) => point.y + below);
  const y = heights.find(isFree) ?? heights[0]!;
  taken.labels.push({ left, right, y });
  return [left, y];
}

function dots({ points, shade, name }: Series, across: Scale, up: Scale, taken: Taken): string {
  return points
    .map(({ x, y, low, high, label, hasRing }) => {
      const [cx, cy] = [n(across.at(x)), n(up.at(y))];
      const bar =
        low === undefined || high === undefined
          ? ''
          : `<line class="l-${shade}" stroke-opacity=".45" x1="${cx}" x2="${cx}" y1="${n(up.at(low))}" y2="${n(up.at(high))}"/>`;
      // What is labelled as its series is named by the legend.
      const written = label && label !== name ? label : null;
      const [left, base] = written === null ? [0, 0] : labelAt(written, { x: across.at(x), y: up.at(y) }, taken);
      const caption = written === null ? '' : `<text x="${n(left)}" y="${n(base)}">${escaped(written)}</text>`;
      const title = escaped([name, label, figureText(x), figureText(y)].filter(Boolean).join(' · '));
      const ring = hasRing ? `<circle class="l-${shade}" cx="${cx}" cy="${cy}" r="${ringRadius}"/>` : '';
      return `${bar}${ring}<circle class="f-${shade}" cx="${cx}" cy="${cy}" r="${radius}"><title>${title}</title></circle>${caption}`;
    })
    .join('');
}

function frame(across: Scale, up: Scale, x: string, y: string): string {
  const columns = across.ticks.map(
    (tick) => `<text x="${n(across.at(tick))}" y="${plot.bottom + 18}" text-anchor="middle">${figureText(tick)}</text>`,
  );
  const middle = (plot.left + plot.right) / 2;
  const titles = `<text x="${middle}" y="${plot.bottom + 38}" text-anchor="middle">${escaped(x)}</text>${upright(y)}`;
  return `${grid(up)}${columns.join('')}<line class="axis" x1="${plot.left}" x2="${plot.right}" y1="${plot.bottom}" y2="${plot.bottom}"/>${titles}`;
}

const grid = (up: Scale): string =>
  up.ticks
    .map((tick) => {
      const at = n(up.at(tick));
      return `<line class="grid" x1="${plot.left}" x2="${plot.right}" y1="${at}" y2="${at}"/><text x="${plot.left - 8}" y="${n(up.at(tick) + 4)}" text-anchor="end">${figureText(tick)}</text>`;
    })
    .join('');

const upright = (text: string): string =>
  `<text transform="translate(14 ${(plot.top + plot.bottom) / 2}) rotate(-90)" text-anchor="middle">${escaped(text)}</text>`;

function bars({ categories, series, y }: BarsFigure): string {
  const totals = categories.map((_, i) => series.reduce((sum, { values }) => sum + values[i]!, 0));
  const up = scale([0, ...totals], plot.bottom, plot.top);
  const step = (plot.right - plot.left) / Math.max(1, categories.length);
  const parts = categories.map((category, i) => {
    const left = plot.left + i * step + step * 0.15;
    let below = 0;
    const pieces = series.map(({ name, shade, values }) => {
      const from = below;
      below += values[i]!;
      const tall = up.at(from) - up.at(below);
      const title = escaped(`${category} · ${name} · ${figureText(values[i]!)}`);
      return `<rect class="f-${shade}" x="${n(left)}" y="${n(up.at(below))}" width="${n(step * 0.7)}" height="${n(tall)}"><title>${title}</title></rect>`;
    });
    // Many names would lie on each other.
    const isNamed = categories.length <= 12 || i % Math.ceil(categories.length / 12) === 0;
    const name = `<text x="${n(left + step * 0.35)}" y="${plot.bottom + 18}" text-anchor="middle">${escaped(category)}</text>`;
    return `${pieces.join('')}${isNamed ? name : ''}`;
  });
  return `${grid(up)}${parts.join('')}${upright(y)}`;
}

/** Entries of a row: as many as the longest name leaves room for. */
function inRow(names: readonly Named[]): number {
  const longest = Math.max(1, ...names.map(({ name }) => name.length));
  return Math.max(1, Math.min(4, Math.floor((plot.right - plot.left) / (signWidth + letterWidth * longest))));
}
/** Of an entry's sign, with the room on both sides of its name. */
const signWidth = 30;
const legendHeight = (names: readonly Named[]): number => 20 * Math.ceil(names.length / inRow(names));

/** An entry of the legend; no shade: it names what has a ring. */
interface Named {
  readonly name: string;
  readonly shade: string | null;
  /** Of its line; empty: it has none. */
  readonly dash: string;
}

function legend(names: readonly Named[]): string {
  const columns = inRow(names);
  const step = (plot.right - plot.left) / columns;
  const room = Math.floor((step - signWidth) / letterWidth);
  return names
    .map(({ name, shade, dash }, i) => {
      const [x, y] = [plot.left + (i % columns) * step, height + 20 * Math.floor(i / columns)];
      const text =
        name.length > room ? `<title>${escaped(name)}</title>${escaped(name.slice(0, room - 1))}…` : escaped(name);
      return `${signOf(shade, dash, x, y)}<text x="${n(x + 18)}" y="${n(y + 10)}">${text}</text>`;
    })
    .join('');
}

function signOf(shade: string | null, dash: string, x: number, y: number): string {
  if (shade === null) return `<circle class="ring" cx="${n(x + 6)}" cy="${n(y + 6)}" r="6"/>`;
  if (dash === '') return `<rect class="f-${shade}" x="${n(x)}" y="${n(y)}" width="12" height="12"/>`;
  return `<line class="l-${shade}"${dashed(dash)} x1="${n(x - 8)}" x2="${n(x + 14)}" y1="${n(y + 6)}" y2="${n(y + 6)}"/>`;
}
