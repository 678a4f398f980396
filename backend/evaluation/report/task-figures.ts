/** Figures of an evaluation on tasks: scores over thresholds, depth and speed, and the exits at which tokens leave. Pure. */
import { exitShade, type Shade } from '../../../protocol/palette.ts';
import {
  fullDepth,
  pointsRange,
  pointsText,
  speedText,
  verdictText,
  type TaskScores,
  type WayScore,
} from '../../../protocol/tasks.ts';
import { plural } from '../../../protocol/plural.ts';
import { tokenKinds } from '../tasks/kinds.ts';
import { figureText, slug, type Figure, type LinesFigure, type Point, type Series } from './figure.ts';
import type { EvaluationRun } from './runs.ts';

export function taskFigures({ name, sets, evaluation }: EvaluationRun): Figure[] {
  return sets.flatMap((set) => {
    const id = slug(`${name}-${set.set}`);
    const margin = evaluation.about.margin;
    const figures = [scoreTable(set, id, margin)];
    const full = set.ways.find(({ way }) => way === fullDepth);
    const others = set.ways.filter(({ way }) => way !== fullDepth);
    if (full && others.length > 0) figures.push(overDepth(set, full, others, id));
    const speeds = overSpeed(set, id);
    if (speeds) figures.push(speeds);
    if (set.ways.some(({ left }) => Object.keys(left).length > 1))
      figures.push(leaving(set, evaluation.identity.exits, id));
    const lowest = others.filter(({ left }) => Object.keys(left).length > 1).at(-1);
    const shown = others.find(({ way }) => way === 'calibrated') ?? lowest;
    if (shown) figures.push(byKind(set, shown, evaluation.identity.exits, id));
    return figures;
  });
}

const percent = (share: number): number => 100 * share;

function scoreTable({ set, ways, layers, asked }: TaskScores, id: string, margin: number): Figure {
  const rows = ways.map((way) => {
    const { difference, speed, meanLayer, score, tasks, same } = way;
    return [
      way.way,
      `${tasks} of ${asked}`,
      percent(score).toFixed(1),
      difference ? pointsText(difference.mean) : '',
      difference ? pointsRange(difference) : '',
      difference ? `${difference.lost} / ${difference.won}` : '',
      difference ? difference.p.toFixed(3) : '',
      difference ? verdictText(difference.verdict) : '',
      same === null ? '' : percent(same).toFixed(1),
      meanLayer === null ? '' : `${meanLayer.toFixed(1)} of ${layers}`,
      speed ? speedText(speed) : '',
    ];
  });
  return {
    id: `${id}-scores`,
    title: `${set}: scores`,
    note: `Points of 100; differences to full depth on the same tasks, with 95 % intervals (bootstrap) and McNemar's exact test. Not worse: by no more than ${plural(margin, 'point')}, with that certainty. Speed: times full depth, a token, one text at a time and in turn.`,
    kind: 'table',
    head: [
      'way',
      'tasks',
      'score',
      'difference',
      '95 %',
      'lost / won',
      'p',
      'verdict',
      'same answer',
      'mean layer',
      'speed',
    ],
    rows,
  };
}

/** Score with the interval of its difference to full depth, which are both of the tasks that this way has answered. */
const pointOf = ({ way, score, difference }: WayScore, x: number): Point => ({
  x,
  y: percent(score),
  ...(difference && {
    low: percent(score - difference.mean + difference.low),
    high: percent(score - difference.mean + difference.high),
  }),
  label: way,
});

const isThreshold = ({ way }: WayScore): boolean => Number.isFinite(Number(way));

/** All thresholds together are one series; each named way is a series by itself. */
function series(ways: readonly WayScore[], point: (way: WayScore) => Point | null): Series[] {
  const named = ways.filter((way) => !isThreshold(way));
  const of = (name: string, shade: Shade, own: readonly WayScore[]): Series => ({
    name,
    shade,
    isLine: false,
    points: own.map(point).filter((each) => each !== null),
  });
  const all = [
    of('thresholds', 'exit2', ways.filter(isThreshold)),
    ...named.map((way, i) => of(way.way, namedShades[i % namedShades.length]!, [way])),
  ];
  return all.filter((each) => each.points.length > 0);
}

const namedShades = ['text', 'exit6', 'exit4'] as const satisfies readonly Shade[];

const overDepth = ({ set, layers }: TaskScores, full: WayScore, others: readonly WayScore[], id: string): Figure => ({
  id: `${id}-score-over-depth`,
  title: `${set}: score over depth`,
  note: `Mean layer at which tokens leave, of ${layers}; bars are 95 % intervals of the difference to full depth.`,
  kind: 'lines',
  x: 'mean layer',
  y: 'score, %',
  level: { name: `full depth ${figureText(percent(full.score))}`, y: percent(full.score) },
  series: series(others, (way) => (way.meanLayer === null ? null : pointOf(way, way.meanLayer))),
});

/** Null if no way's speed was measured. */
export function overSpeed({ set, ways }: TaskScores, id: string): LinesFigure | null {
  const full = ways.find(({ way }) => way === fullDepth);
  const others = ways.filter(({ way, speed }) => way !== fullDepth && speed !== null);
  if (!full || others.length === 0) return null;
  return {
    id: `${id}-score-over-speed`,
    title: `${set}: score over measured speed`,
    note: 'Times as fast as full depth, a token, one text at a time, in turn on the same tasks.',
    kind: 'lines',
    x: 'speed, × full depth',
    y: 'score, %',
    level: { name: `full depth ${figureText(percent(full.score))}`, y: percent(full.score) },
    series: series(others, (way) => (way.speed ? pointOf(way, way.speed.value) : null)),
  };
}

const total = (kinds: Readonly<Record<string, number>> | undefined): number =>
  Object.values(kinds ?? {}).reduce((sum, share) => sum + share, 0);

/** Exits at which any token left, in the order of the stream, the final one last. */
const leftAt = (ways: readonly WayScore[], exits: readonly string[]): string[] =>
  [...exits, 'final'].filter((exit) => ways.some(({ left }) => exit in left));

const leaving = ({ set, ways }: TaskScores, exits: readonly string[], id: string): Figure => ({
  id: `${id}-where-tokens-leave`,
  title: `${set}: where tokens leave`,
  note: 'Share of all tokens by exit, for each way.',
  kind: 'bars',
  y: 'share of tokens',
  categories: ways.map(({ way }) => way),
  series: leftAt(ways, exits).map((exit) => ({
    name: exit,
    shade: exitShade(exit, exits),
    values: ways.map(({ left }) => total(left[exit])),
  })),
});

function byKind({ set }: TaskScores, way: WayScore, exits: readonly string[], id: string): Figure {
  const kinds = tokenKinds.filter((kind) => Object.values(way.left).some((own) => (own[kind] ?? 0) > 0));
  const of = (kind: string): number => Object.values(way.left).reduce((sum, own) => sum + (own[kind] ?? 0), 0);
  return {
    id: `${id}-by-kind-of-token`,
    title: `${set}: where each kind of token leaves (${way.way})`,
    note: 'Share of the tokens of each kind by exit.',
    kind: 'bars',
    y: 'share of the kind',
    categories: kinds,
    series: leftAt([way], exits).map((exit) => ({
      name: exit,
      shade: exitShade(exit, exits),
      values: kinds.map((kind) => (way.left[exit]?.[kind] ?? 0) / of(kind)),
    })),
  };
}
