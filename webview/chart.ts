/** The chart on the screen: uPlot behind a small interface. Zoom by dragging, by wheel and by keys; a cursor with values. */
import uPlot from 'uplot';
import type { ChartModel, Curve } from './chart-model.ts';
import { curveStyle, valueRange } from './exports.ts';
import type { Theme } from './theme.ts';

export interface Chart {
  draw(model: ChartModel, logarithmic: boolean, theme: Theme): void;
  resize(): void;
  /** Width of the plot in pixels. */
  width(): number;
  /** Puts the cursor at a step; null takes it away. */
  moveCursor(step: number | null): void;
}

export interface ChartTexts {
  readonly step: string;
  readonly value: string;
  readonly final: string;
}

export interface ChartEvents {
  /** The step under the cursor; null if there is none. */
  readonly cursor: (step: number | null) => void;
  /** A new range of steps; null for all. */
  readonly zoom: (range: [number, number] | null) => void;
}

export function createChart(target: HTMLElement, texts: () => ChartTexts, events: ChartEvents): Chart {
  let plot: uPlot | null = null;
  let shape = '';
  let model: ChartModel = { view: 'gap', curves: [], references: [], range: [0, 1] };
  let logarithmic = false;
  let theme: Theme | null = null;
  let drawing = false;

  const size = (): { width: number; height: number } => ({
    width: Math.max(80, target.clientWidth),
    height: Math.max(80, target.clientHeight),
  });

  const build = (): uPlot => {
    const colours = theme!;
    const whole = (_: uPlot, splits: number[]): (string | null)[] =>
      splits.map((value) => (Number.isInteger(value) ? value.toLocaleString('en') : null));
    const axis = {
      stroke: colours.muted,
      font: colours.font,
      grid: { stroke: colours.grid, width: 1 },
      ticks: { stroke: colours.grid, width: 1, size: 5 },
    };
    const series: uPlot.Series[] = model.curves.map((curve) => {
      const { strokeWidth, opacity, dash } = curveStyle(curve, model.curves);
      const stroke = colours.marks[curve.shade];
      return {
        label: `${curve.exit} ${curve.kind}`,
        stroke: opacity === 1 ? stroke : mix(stroke, colours.background, opacity),
        width: strokeWidth,
        dash,
        spanGaps: true,
        points: curve.kind === 'heldOut' ? { show: true, size: 7, fill: stroke, stroke } : { show: false },
      };
    });
    return new uPlot(
      {
        ...size(),
        // The final exit's label is beside the plot, where it covers nothing.
        padding: [null, model.references.length > 0 ? labelWidth() : null, null, null],
        series: [{}, ...series],
        legend: { show: false },
        scales: {
          x: { time: false, range: () => [model.range[0], model.range[1]] },
          y: { distr: logarithmic ? 3 : 1, range: () => valueRange(model, logarithmic) },
        },
        axes: [
          {
            ...axis,
            values: whole,
            incrs: stepIncrements,
            label: texts().step,
            labelFont: colours.font,
            labelSize: 18,
            size: 30,
          },
          { ...axis, label: texts().value, labelFont: colours.font, labelSize: 18, size: 48 },
        ],
        cursor: { drag: { x: true, y: false, setScale: false }, points: { show: false }, y: false },
        hooks: {
          setCursor: [
            (self) => {
              if (drawing) return;
              const { left } = self.cursor;
              events.cursor(left === undefined || left === null || left < 0 ? null : self.posToVal(left, 'x'));
            },
          ],
          setSelect: [
            (self) => {
              if (self.select.width < 4) return;
              const from = self.posToVal(self.select.left, 'x');
              const to = self.posToVal(self.select.left + self.select.width, 'x');
              self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              events.zoom([from, to]);
            },
          ],
          draw: [drawReferences],
        },
      },
      data(),
      target,
    );
  };

  /** Curves of different runs and of evaluations have steps of their own: one table with gaps. */
  const data = (): uPlot.AlignedData => {
    if (model.curves.length === 0) return [[]];
    const tables = [...curvesBySteps(model.curves)].map(([steps, curves]): uPlot.AlignedData => [
      steps as number[],
      ...curves.map(({ values }) => values as (number | null)[]),
    ]);
    return uPlot.join(tables);
  };

  const drawReferences = (self: uPlot): void => {
    const { ctx, bbox } = self;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.font = theme!.font.replace('12px', `${Math.round(12 * ratio)}px`);
    ctx.textAlign = 'left';
    for (const { value, place } of model.references) {
      const y = self.valToPos(value, 'y', true);
      if (y < bbox.top || y > bbox.top + bbox.height) continue;
      const right = bbox.left + bbox.width;
      ctx.strokeStyle = theme!.foreground;
      ctx.fillStyle = theme!.foreground;
      ctx.lineWidth = ratio;
      ctx.setLineDash([6 * ratio, 4 * ratio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(right, y);
      ctx.stroke();
      if (place > 0) continue;
      labelLines(value).forEach((line, i) => ctx.fillText(line, right + LABEL_GAP * ratio, y + (14 * i - 3) * ratio));
    }
    ctx.restore();
  };

  const labelLines = (value: number): string[] => [texts().final, value === 0 ? '0' : value.toFixed(2)];

  const labelWidth = (): number => {
    const context = document.createElement('canvas').getContext('2d');
    if (!context) return 72;
    context.font = theme!.font;
    const widths = model.references
      .flatMap(({ value }) => labelLines(value))
      .map((line) => context.measureText(line).width);
    return Math.ceil(Math.max(...widths)) + 2 * LABEL_GAP;
  };

  const zoomAround = (event: WheelEvent): void => {
    if (!plot) return;
    event.preventDefault();
    const factor = event.deltaY < 0 ? 0.8 : 1.25;
    const [from, to] = model.range;
    const center = plot.posToVal(event.clientX - plot.over.getBoundingClientRect().left, 'x');
    events.zoom([center - (center - from) * factor, center + (to - center) * factor]);
  };

  return {
    draw(next, log, colours) {
      const nextShape = JSON.stringify([
        next.curves.map(({ run, exit, kind, shade, place }) => [run, exit, kind, shade, place]),
        next.references.length > 0,
        next.view,
        log,
        colours,
      ]);
      // In the order of the tables that they are drawn from.
      model = { ...next, curves: [...curvesBySteps(next.curves).values()].flat() };
      logarithmic = log;
      theme = colours;
      drawing = true;
      if (plot && nextShape === shape) plot.setData(data());
      else {
        plot?.destroy();
        plot = build();
        plot.over.addEventListener('wheel', zoomAround, { passive: false });
        plot.over.addEventListener('dblclick', () => events.zoom(null));
        shape = nextShape;
      }
      drawing = false;
    },
    resize: () => plot?.setSize(size()),
    width: () => Math.round(plot?.over.clientWidth ?? target.clientWidth),
    moveCursor(step) {
      if (!plot) return;
      const left = step === null ? -10 : plot.valToPos(step, 'x');
      plot.setCursor({ left, top: step === null ? -10 : plot.over.clientHeight / 2 }, false);
    },
  };
}

/** Curves that share their steps are one table. */
function curvesBySteps(curves: readonly Curve[]): Map<readonly number[], Curve[]> {
  const groups = new Map<readonly number[], Curve[]>();
  for (const curve of curves) groups.set(curve.steps, [...(groups.get(curve.steps) ?? []), curve]);
  return groups;
}

/** Pixels between the plot and the label beside it. */
const LABEL_GAP = 6;

/** Steps are whole numbers. */
const stepIncrements = [1, 2, 5]
  .flatMap((factor) => [0, 1, 2, 3, 4, 5, 6, 7].map((power) => factor * 10 ** power))
  .sort((a, b) => a - b);

/** A canvas draws thin lines clearer in a mixed colour than with alpha. */
const mix = (colour: string, background: string, share: number): string =>
  `color-mix(in srgb, ${colour} ${Math.round(100 * share)}%, ${background})`;
