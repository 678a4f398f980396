/** Draws the results of an evaluation on tasks: each way's score beside full depth's, and its speed. */
import {
  pointsRange,
  pointsText,
  speedRange,
  verdictText,
  type TaskScores,
  type WayScore,
} from '../../../protocol/tasks.ts';
import { plural } from '../../../protocol/plural.ts';
import { percent, table } from './table.ts';
import type { Stream } from './terminal.ts';

/** A table a set, a row a way. */
export function taskTables(stream: Stream, sets: readonly TaskScores[], margin: number): string {
  const { bold, dim } = stream.colours;
  return sets
    .map(({ set, asked, layers, ways }) => {
      const head = ['', 'score', 'difference', '95 %', 'lost', 'won', 'p', 'mean layer', 'left early', 'speed', '95 %'];
      const rows = ways.map((way) => rowOf(stream, way, layers));
      const caption = `${plural(asked, 'task')}; not worse: at most ${plural(margin, 'point')} below, with 95 % certainty`;
      return `\n${bold(set)} ${dim(`· ${caption}`)}\n${table([[...head, ''].map(dim), ...rows], aligns)}`;
    })
    .join('');
}

const aligns = ['left', ...new Array<'right'>(10).fill('right'), 'left'] as const;

function rowOf({ colours }: Stream, way: WayScore, layers: number): string[] {
  const { bold, dim, green, red, yellow } = colours;
  const { difference, speed, meanLayer } = way;
  const shades = { 'not-worse': green, worse: red, unclear: yellow };
  return [
    way.way,
    bold(percent(way.score)),
    difference ? pointsText(difference.mean) : '',
    difference ? dim(pointsRange(difference)) : '',
    difference ? String(difference.lost) : '',
    difference ? String(difference.won) : '',
    difference ? dim(difference.p.toFixed(3)) : '',
    meanLayer === null ? '' : `${meanLayer.toFixed(1)} of ${layers}`,
    meanLayer === null ? '' : percent(leftEarly(way), 0),
    speed ? bold(`${speed.value.toFixed(2)} ×`) : '',
    speed ? dim(speedRange(speed)) : '',
    difference ? shades[difference.verdict](verdictText(difference.verdict)) : '',
  ];
}

/** Share of tokens that left before the final exit. */
const leftEarly = ({ left }: WayScore): number =>
  Object.entries(left)
    .filter(([exit]) => exit !== 'final')
    .flatMap(([, kinds]) => Object.values(kinds))
    .reduce((sum, share) => sum + share, 0);
