/** README's picture of quality over speed: agreement with the full model over measured speed, out of docs/results/exits.json. Pure. */
import type { LinesFigure, Point, Series } from '../backend/evaluation/report/figure.ts';
import { svg } from '../backend/evaluation/report/svg.ts';
import type { Part, SectionResult } from '../test/bench/report.ts';

export const pictureName = 'quality-speed.svg';

/** One processor's, since ratios of two do not compare: the one that was measured last. Null if nothing was measured. */
export function qualityOverSpeed({ parts }: SectionResult): LinesFigure | null {
  const last = parts.toSorted((a, b) => a.date.localeCompare(b.date)).at(-1);
  if (last === undefined) return null;
  const { processor } = last.machine;
  const shades = ['exit1', 'exit4', 'exit6', 'exit2'] as const;
  const series = parts
    .filter((part) => part.machine.processor === processor && hasThresholds(part) && exitsPay(part))
    .map((part, i): Series => ({
      name: part.model.replace(/[-.](Q\d.*|Instruct.*)$/, ''),
      shade: shades[i % shades.length]!,
      isLine: false,
      points: part.tables[0]!.rows.flatMap((row) => pointOf(part.tables[0]!.columns, row)),
    }));
  return {
    id: 'quality-over-speed',
    title: `Agreement with the full model over measured speed, ${processor}`,
    note: '',
    kind: 'lines',
    x: `speed by exits and drafts, × full depth of the same model (${processor})`,
    y: "tokens that are the full model's own choice, %",
    level: { name: 'full depth and lossless', y: 100 },
    ringed: 'as calibrated',
    series: withRoom(series),
  };
}

/** Of large models bare thresholds are not measured, and a calibrated point alone draws no trade. */
const hasThresholds = ({ tables }: Part): boolean =>
  tables[0]!.rows.some(([way]) => way!.startsWith('fast, threshold'));

/** Whether calibrated exits are faster by themselves: elsewhere the speed is that of drafts. */
const exitsPay = ({ tables }: Part): boolean => {
  const { columns, rows } = tables[0]!;
  const alone = rows.find(([way]) => /^fast, calibrated .*, exits alone$/.test(way!));
  return Number.parseFloat(alone?.[columns.indexOf('÷ full depth')] ?? '') > 1;
};

/** Without labels that would cover others: the end of each model's thresholds comes first. */
function withRoom(series: readonly Series[]): Series[] {
  const order = ['0.5'];
  const kept: Point[] = [];
  const labelled = series.flatMap(({ points }) => points).filter(({ label }) => label !== undefined);
  for (const point of labelled.toSorted((a, b) => order.indexOf(b.label!) - order.indexOf(a.label!))) {
    const covers = ({ x, y }: Point): boolean => Math.abs(x - point.x) < room.x && Math.abs(y - point.y) < room.y;
    if (!kept.some(covers)) kept.push(point);
  }
  const unlabelled = ({ x, y, hasRing = false }: Point): Point => ({ x, y, hasRing });
  const shown = (point: Point): Point => (kept.includes(point) ? point : unlabelled(point));
  return series.map((one) => ({ ...one, points: one.points.map(shown) }));
}

/** What a label takes of each axis. */
const room = { x: 0.14, y: 2 } as const;

const calibrated = /^fast, calibrated for (99 %|0\.02 nats)$/;

/** The ways that are shown, and how they are called beside their points; those at the level and those with a ring need no name. */
const labels: readonly (readonly [RegExp, string])[] = [
  [/^lossless$/, ''],
  [calibrated, ''],
  [/^fast, threshold (0\.(?:9|8|7|5))$/, '$1'],
];

/** From here on thresholds of several models lie beside each other. */
const crowded = 99;

function pointOf(columns: readonly string[], row: readonly string[]): Point[] {
  const way = row[0]!;
  const [pattern, label] = labels.find(([each]) => each.test(way)) ?? [];
  const cell = (column: string): number => Number.parseFloat(row[columns.indexOf(column)] ?? '');
  const point = { x: cell('÷ full depth'), y: cell('agreement') };
  if (pattern === undefined || !Number.isFinite(point.x) || !Number.isFinite(point.y)) return [];
  const name = way.replace(pattern, label!);
  const isNamed = name !== '' && point.y < crowded;
  return [{ ...point, ...(isNamed && { label: name }), hasRing: calibrated.test(way) }];
}

export const picture = (result: SectionResult): string | null => {
  const figure = qualityOverSpeed(result);
  return figure && `${svg(figure, true)}\n`;
};
