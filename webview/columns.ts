/** Points of runs as columns that grow. Pure: knows no chart and no DOM. */
import type { Columns, HostMessage } from '../protocol/webview.ts';

export interface RunPoints {
  training: Columns;
  /** In training, each exit's loss minus the final one's on the same batch; empty if that is not known. */
  gaps: Columns;
  heldOut: Columns;
  agreement: Columns;
}

type PointsMessage = Extract<HostMessage, { type: 'points' }>;

export const noPoints = (): RunPoints => ({
  training: { steps: [], values: {} },
  gaps: { steps: [], values: {} },
  heldOut: { steps: [], values: {} },
  agreement: { steps: [], values: {} },
});

/** Adds a message to a run's points, in place. A resumed run repeats steps: what was known from there on is dropped. */
export function addPoints(points: RunPoints, message: PointsMessage): void {
  const first = message.training.steps[0];
  if (first !== undefined) {
    truncate(points.gaps, first);
    truncate(points.heldOut, first);
    truncate(points.agreement, first);
  }
  append(points.training, message.training);
  append(points.gaps, message.gaps);
  append(points.heldOut, message.heldOut);
  append(points.agreement, message.agreement);
}

/** Steps whose values can be read: those of training, before the first update those of evaluations. */
export const stepsOf = ({ training, heldOut }: RunPoints): readonly number[] =>
  training.steps.length > 0 ? training.steps : heldOut.steps;

/** Exits in the order of the stream; the final one, which is no curve of its own, is left out. */
export function exitsOf(points: RunPoints): string[] {
  const names = new Set([...Object.keys(points.training.values), ...Object.keys(points.heldOut.values)]);
  names.delete('final');
  return [...names].sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10) || a.localeCompare(b));
}

/** What is plotted: the gap to the final exit on the same tokens, or the losses as they are. */
export type View = 'gap' | 'loss';

/** The columns of a view; of the final exit the gap is 0. */
export function columnsOf(points: RunPoints, view: View): Pick<RunPoints, 'training' | 'heldOut'> {
  if (view === 'loss') return points;
  const { gaps, heldOut } = points;
  const final = heldOut.values.final ?? [];
  const gapsOf = (column: readonly (number | null)[]): (number | null)[] =>
    column.map((value, i) => (value === null || final[i] === null || final[i] === undefined ? null : value - final[i]));
  const values = Object.entries(heldOut.values).map(([exit, column]) => [exit, gapsOf(column)]);
  return { training: gaps, heldOut: { steps: heldOut.steps, values: Object.fromEntries(values) as Columns['values'] } };
}

/** The last number of a column; null if there is none. */
export function lastValue(column: readonly (number | null)[] | undefined): number | null {
  for (let i = (column?.length ?? 0) - 1; i >= 0; i--) {
    const value = column![i];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

/** Index of the last step that is at most `step`; −1 if all are later. */
export function indexAt(steps: readonly number[], step: number): number {
  let low = -1;
  let high = steps.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (steps[middle]! <= step) low = middle;
    else high = middle;
  }
  return low;
}

/** Index of the closest step; −1 if there are none. */
export function nearestIndex(steps: readonly number[], step: number): number {
  const before = indexAt(steps, step);
  const after = before + 1;
  if (before < 0) return steps.length > 0 ? 0 : -1;
  if (after >= steps.length) return before;
  return step - steps[before]! <= steps[after]! - step ? before : after;
}

function truncate(columns: Columns, from: number): void {
  const keep = indexAt(columns.steps, from - 1e-9) + 1;
  if (keep === columns.steps.length) return;
  // New arrays: a cache keyed by an array relies on arrays that only grow.
  columns.steps = columns.steps.slice(0, keep);
  for (const [name, column] of Object.entries(columns.values)) columns.values[name] = column.slice(0, keep);
}

function append(columns: Columns, more: Columns): void {
  if (more.steps.length === 0) return;
  truncate(columns, more.steps[0]!);
  const before = columns.steps.length;
  for (const step of more.steps) columns.steps.push(step);
  for (const name of Object.keys(more.values)) columns.values[name] ??= [];
  for (const [name, column] of Object.entries(columns.values)) {
    while (column.length < before) column.push(null);
    const added = more.values[name];
    for (let i = 0; i < more.steps.length; i++) column.push(added?.[i] ?? null);
  }
}
