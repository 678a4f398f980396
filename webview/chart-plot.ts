/** A chart for uPlot: its series and axes, and the table of numbers. */
import uPlot from 'uplot';
import type { ChartModel, Curve } from './chart-model.ts';
import { labelWidth } from './chart-references.ts';
import { curveStyle, logTicks, valueRange } from './exports.ts';
import type { Theme } from './theme.ts';

export interface ChartTexts {
  readonly step: string;
  readonly value: string;
  readonly final: string;
}

export interface PlotLooks {
  readonly logarithmic: boolean;
  readonly theme: Theme;
  readonly texts: ChartTexts;
}

/** `model`: called for each range, which changes with every message. */
export function plotOptions(
  model: () => ChartModel,
  { logarithmic, theme, texts }: PlotLooks,
  size: { readonly width: number; readonly height: number },
  hooks: uPlot.Hooks.Arrays,
): uPlot.Options {
  const axis = {
    stroke: theme.muted,
    font: theme.font,
    grid: { stroke: theme.grid, width: 1 },
    ticks: { stroke: theme.grid, width: 1, size: 5 },
    labelFont: theme.font,
    labelSize: 18,
  };
  return {
    ...size,
    // The final exit's label is beside the plot, where it covers nothing.
    padding: [null, labelWidth(model(), theme, texts.final), null, null],
    series: [{}, ...model().curves.map((curve) => seriesOf(curve, model().curves, theme))],
    legend: { show: false },
    scales: {
      x: { time: false, range: () => [model().range[0], model().range[1]] },
      y: { distr: logarithmic ? 3 : 1, range: () => valueRange(model(), logarithmic) },
    },
    axes: [
      { ...axis, values: wholeNumbers, incrs: stepIncrements, label: texts.step, size: 30 },
      { ...axis, ...(logarithmic && logarithmicSplits), label: texts.value, size: 48 },
    ],
    cursor: { drag: { x: true, y: false, setScale: false }, points: { show: false }, y: false },
    hooks,
  };
}

function seriesOf(curve: Curve, all: readonly Curve[], { marks, background }: Theme): uPlot.Series {
  const { strokeWidth, opacity, dash } = curveStyle(curve, all);
  const stroke = marks[curve.shade];
  return {
    label: `${curve.exit} ${curve.kind}`,
    stroke: opacity === 1 ? stroke : mix(stroke, background, opacity),
    width: strokeWidth,
    dash,
    spanGaps: true,
    points: curve.kind === 'heldOut' ? { show: true, size: 7, fill: stroke, stroke } : { show: false },
  };
}

/** Curves of different runs and of evaluations have steps of their own: one table with gaps. */
export function tableOf(curves: readonly Curve[]): uPlot.AlignedData {
  if (curves.length === 0) return [[]];
  const tables = [...curvesBySteps(curves)].map(([steps, some]): uPlot.AlignedData => [
    steps as number[],
    ...some.map(({ values }) => values as (number | null)[]),
  ]);
  return uPlot.join(tables);
}

/** Curves in the order of the table that they are drawn from. */
export const inTableOrder = (curves: readonly Curve[]): Curve[] => [...curvesBySteps(curves).values()].flat();

/** Curves that share their steps are one table. */
function curvesBySteps(curves: readonly Curve[]): Map<readonly number[], Curve[]> {
  const groups = new Map<readonly number[], Curve[]>();
  for (const curve of curves) groups.set(curve.steps, [...(groups.get(curve.steps) ?? []), curve]);
  return groups;
}

const wholeNumbers = (_: uPlot, splits: number[]): (string | null)[] =>
  splits.map((value) => (Number.isInteger(value) ? value.toLocaleString('en') : null));

/** As in an exported picture; uPlot's own begin at the lowest value, which is not round. */
const logarithmicSplits: Pick<uPlot.Axis, 'splits' | 'filter' | 'values'> = {
  splits: (_, __, low, high) => logTicks(low, high),
  filter: (_, splits) => splits,
  values: (_, splits) => splits.map((value) => String(Number(value.toPrecision(4)))),
};

/** Steps are whole numbers. */
const stepIncrements = [1, 2, 5]
  .flatMap((factor) => [0, 1, 2, 3, 4, 5, 6, 7].map((power) => factor * 10 ** power))
  .sort((a, b) => a - b);

/** A canvas draws thin lines clearer in a mixed colour than with alpha. */
const mix = (colour: string, background: string, share: number): string =>
  `color-mix(in srgb, ${colour} ${Math.round(100 * share)}%, ${background})`;
