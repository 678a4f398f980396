/** The curves as files: a table, a drawing. Pure; the picture of pixels is made from the drawing. */
import type { Shade } from '../protocol/palette.ts';
import type { ChartModel, Curve } from './chart-model.ts';
import { exitsOf, type RunPoints } from './columns.ts';

/** Every point of the runs, not only those on the screen; a gap is that to the final exit on the same tokens. */
export function toCsv(runs: readonly { title: string; points: RunPoints }[]): string {
  const lines = ['run,step,exit,training_loss,training_gap,held_out_loss,agreement'];
  for (const { title, points } of runs) {
    const { training, gaps, heldOut, agreement } = points;
    const steps = [...new Set([...training.steps, ...heldOut.steps])].sort((a, b) => a - b);
    const rows = (columns: RunPoints['training']): Map<number, number> =>
      new Map(columns.steps.map((step, i) => [step, i]));
    const [trainingRow, gapRow, heldOutRow] = [rows(training), rows(gaps), rows(heldOut)];
    for (const step of steps) {
      for (const exit of [...exitsOf(points), 'final']) {
        const at = (columns: RunPoints['training'], row: Map<number, number>): number | null =>
          columns.values[exit]?.[row.get(step) ?? -1] ?? null;
        const values = [
          at(training, trainingRow),
          at(gaps, gapRow),
          at(heldOut, heldOutRow),
          at(agreement, heldOutRow),
        ];
        if (values.every((value) => value === null)) continue;
        lines.push([quoted(title), step, exit, ...values.map((value) => value ?? '')].join(','));
      }
    }
  }
  return `${lines.join('\n')}\n`;
}

export interface Drawing {
  readonly width: number;
  readonly height: number;
  readonly title: string;
  readonly logarithmic: boolean;
  readonly background: string;
  readonly foreground: string;
  readonly grid: string;
  readonly marks: Readonly<Record<Shade, string>>;
  readonly stepText: string;
  readonly valueText: string;
  readonly finalText: string;
}

/** At the right there is room for the final exit's label, where it covers no curve. */
const MARGIN = { top: 44, right: 84, bottom: 44, left: 56 };
/** Room of an exit in the legend. */
const LEGEND = { width: 110, height: 16 };

/** The chart as it is shown, with axes and a legend, as an SVG document. */
export function toSvg(model: ChartModel, drawing: Drawing): string {
  const { curves, references, range } = model;
  const { width, height, background, foreground, grid, marks } = drawing;
  const exits = [...new Map(curves.map((curve) => [curve.exit, curve.shade]))];
  const perRow = Math.floor((width - MARGIN.left) / LEGEND.width);
  const margin = { ...MARGIN, top: MARGIN.top + LEGEND.height * Math.floor(Math.max(0, exits.length - 1) / perRow) };
  const plot = { width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
  const [low, high] = valueRange(model, drawing.logarithmic);
  const scale = drawing.logarithmic ? Math.log : (value: number): number => value;
  const x = (step: number): number => margin.left + (plot.width * (step - range[0])) / (range[1] - range[0]);
  const y = (value: number): number =>
    margin.top + plot.height * (1 - (scale(value) - scale(low)) / (scale(high) - scale(low)));
  const text = (at: [number, number], content: string, more = ''): string =>
    `<text x="${round(at[0])}" y="${round(at[1])}" fill="${foreground}" ${more}>${escape(content)}</text>`;

  const parts: string[] = [];
  for (const tick of ticks(range[0], range[1], 8)) {
    parts.push(
      `<line x1="${round(x(tick))}" y1="${margin.top}" x2="${round(x(tick))}" y2="${margin.top + plot.height}" stroke="${grid}"/>`,
    );
    parts.push(text([x(tick), height - margin.bottom + 18], tick.toLocaleString('en'), 'text-anchor="middle"'));
  }
  for (const tick of drawing.logarithmic ? logTicks(low, high) : ticks(low, high, 6)) {
    parts.push(
      `<line x1="${margin.left}" y1="${round(y(tick))}" x2="${margin.left + plot.width}" y2="${round(y(tick))}" stroke="${grid}"/>`,
    );
    parts.push(text([margin.left - 8, y(tick) + 4], String(Number(tick.toPrecision(4))), 'text-anchor="end"'));
  }
  for (const { value } of references) {
    parts.push(
      `<line x1="${margin.left}" y1="${round(y(value))}" x2="${margin.left + plot.width}" y2="${round(y(value))}" stroke="${foreground}" stroke-dasharray="6 4"/>`,
    );
    parts.push(
      text([margin.left + plot.width + 6, y(value) - 2], drawing.finalText),
      text([margin.left + plot.width + 6, y(value) + 12], value === 0 ? '0' : value.toFixed(2)),
    );
  }
  for (const curve of curves) {
    const colour = marks[curve.shade];
    const { strokeWidth, opacity, dash } = curveStyle(curve, curves);
    const path = pathOf(curve, x, y, range, drawing.logarithmic);
    if (path !== '') {
      parts.push(
        `<path d="${path}" fill="none" stroke="${colour}" stroke-width="${strokeWidth}" stroke-opacity="${opacity}" stroke-dasharray="${dash.join(' ')}"/>`,
      );
    }
    if (curve.kind !== 'heldOut') continue;
    curve.steps.forEach((step, i) => {
      const value = curve.values[i];
      if (value === null || value === undefined || step < range[0] || step > range[1]) return;
      parts.push(`<circle cx="${round(x(step))}" cy="${round(y(value))}" r="3" fill="${colour}"/>`);
    });
  }
  exits.forEach(([exit, shade], i) => {
    const [left, top] = [margin.left + LEGEND.width * (i % perRow), 28 + LEGEND.height * Math.floor(i / perRow)];
    parts.push(`<rect x="${left}" y="${top}" width="10" height="10" fill="${marks[shade]}"/>`);
    parts.push(text([left + 16, top + 9], exit));
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="${background}"/>`,
    text([margin.left, 18], drawing.title, 'font-size="14" font-weight="600"'),
    `<clipPath id="plot"><rect x="${margin.left}" y="${margin.top}" width="${plot.width}" height="${plot.height}"/></clipPath>`,
    ...parts.map((part) =>
      part.startsWith('<path') || part.startsWith('<circle') ? `<g clip-path="url(#plot)">${part}</g>` : part,
    ),
    text([margin.left + plot.width / 2, height - 8], drawing.stepText, 'text-anchor="middle"'),
    text(
      [16, margin.top + plot.height / 2],
      drawing.valueText,
      `text-anchor="middle" transform="rotate(-90 16 ${margin.top + plot.height / 2})"`,
    ),
    '</svg>',
    '',
  ].join('\n');
}

/** How a curve is drawn, on the screen and in a file alike. */
export function curveStyle(
  curve: Curve,
  all: readonly Curve[],
): { strokeWidth: number; opacity: number; dash: number[] } {
  const hasSmooth = all.some(({ kind }) => kind === 'smooth');
  const dash = curve.place === 0 ? [] : curve.place % 2 === 1 ? [7, 4] : [2, 3];
  switch (curve.kind) {
    case 'raw':
      return { strokeWidth: 1, opacity: hasSmooth ? 0.3 : 0.9, dash };
    case 'smooth':
      return { strokeWidth: 2, opacity: 1, dash };
    case 'heldOut':
      return { strokeWidth: 1.5, opacity: 0.9, dash: [2, 4] };
  }
}

/** Smallest and largest value in view, with a little room. */
export function valueRange({ view, curves, references, range }: ChartModel, logarithmic: boolean): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  const take = (value: number | null | undefined): void => {
    if (value === null || value === undefined || (logarithmic && value <= 0)) return;
    low = Math.min(low, value);
    high = Math.max(high, value);
  };
  for (const { steps, values } of curves) {
    steps.forEach((step, i) => {
      if (step >= range[0] && step <= range[1]) take(values[i]);
    });
  }
  for (const { value } of references) take(value);
  if (low > high) return logarithmic ? [0.1, 10] : [0, 1];
  if (logarithmic) return low === high ? [low / 1.2, high * 1.2] : [low / 1.05, high * 1.05];
  const room = low === high ? Math.max(0.1, Math.abs(low) * 0.1) : 0.06 * (high - low);
  return [view === 'gap' ? low - room : Math.max(0, low - room), high + room];
}

/** About `about` round numbers between two ends. */
export function ticks(low: number, high: number, about: number): number[] {
  const raw = (high - low) / Math.max(1, about);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw) ?? raw;
  const found: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
    found.push(Number((i * step).toPrecision(12)));
  return found;
}

const fewestTicks = 3;

/** Of a logarithmic axis; round steps if hardly a power's multiples lie between its ends. */
export function logTicks(low: number, high: number): number[] {
  const found: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of [1, 2, 3, 5, 7]) {
      const value = factor * 10 ** power;
      if (value >= low && value <= high) found.push(Number(value.toPrecision(12)));
    }
  }
  return found.length < fewestTicks ? ticks(low, high, 6) : found;
}

function pathOf(
  { steps, values }: Curve,
  x: (step: number) => number,
  y: (value: number) => number,
  range: readonly [number, number],
  logarithmic: boolean,
): string {
  const parts: string[] = [];
  let pen = 'M';
  steps.forEach((step, i) => {
    const value = values[i];
    const isIn = (steps[i + 1] ?? step) >= range[0] && (steps[i - 1] ?? step) <= range[1];
    if (value === null || value === undefined || !isIn || (logarithmic && value <= 0)) return;
    parts.push(`${pen}${round(x(step))} ${round(y(value))}`);
    pen = 'L';
  });
  return parts.length > 1 ? parts.join('') : '';
}

const round = (value: number): number => Math.round(value * 100) / 100;
const quoted = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const escape = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
