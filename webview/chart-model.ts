/** What the chart shows, as data: curves and lines to reach, made from runs and the view's state. Pure: no DOM, no uPlot. */
import { exitShade, type Shade } from '../protocol/palette.ts';
import { columnsOf, exitsOf, indexAt, lastValue, type RunPoints, type View } from './columns.ts';
import { smoothGrowing, thin } from './smoothing.ts';

export interface CurvesState {
  /** The run in front; its exits give the legend. */
  front: string | null;
  compared: string[];
  /** Exits that are switched off. */
  hidden: string[];
  view: View;
  /** Of the losses; a gap can be negative. */
  logarithmic: boolean;
  /** β of the smoothing, from 0 to 0.99. */
  smoothing: number;
  /** Steps at the edges; null shows all. */
  zoom: [number, number] | null;
}

export const initialState = (): CurvesState => ({
  front: null,
  compared: [],
  hidden: [],
  view: 'gap',
  logarithmic: false,
  smoothing: 0.8,
  zoom: null,
});

/** `raw`: each step's value; `smooth`: the same smoothed; `heldOut`: evaluations. */
export type CurveKind = 'raw' | 'smooth' | 'heldOut';

export interface Curve {
  readonly run: string;
  readonly exit: string;
  readonly kind: CurveKind;
  /** Of the exit among those that are shown. */
  readonly shade: Shade;
  /** The run's place among those shown; 0 is in front. */
  readonly place: number;
  readonly steps: readonly number[];
  readonly values: readonly (number | null)[];
}

/** The line that exits are to reach: the final exit's held-out loss, or a gap of 0. */
export interface Reference {
  readonly run: string;
  readonly place: number;
  readonly value: number;
}

export interface ChartModel {
  readonly view: View;
  readonly curves: readonly Curve[];
  readonly references: readonly Reference[];
  /** Steps at the edges. */
  readonly range: readonly [number, number];
}

export const isLogarithmic = ({ view, logarithmic }: CurvesState): boolean => view === 'loss' && logarithmic;

/** Reads a state that was kept; what is missing or of another shape is as at first. */
export function readState(kept: unknown): CurvesState {
  const state = initialState();
  if (typeof kept !== 'object' || kept === null) return state;
  const { front, compared, hidden, view, logarithmic, smoothing, zoom } = kept as Record<string, unknown>;
  const texts = (value: unknown): value is string[] =>
    Array.isArray(value) && value.every((x) => typeof x === 'string');
  if (typeof front === 'string') state.front = front;
  if (texts(compared)) state.compared = compared;
  if (texts(hidden)) state.hidden = hidden;
  if (view === 'gap' || view === 'loss') state.view = view;
  if (typeof logarithmic === 'boolean') state.logarithmic = logarithmic;
  if (typeof smoothing === 'number' && smoothing >= 0 && smoothing < 1) state.smoothing = smoothing;
  if (Array.isArray(zoom) && zoom.length === 2 && zoom.every((x) => typeof x === 'number') && zoom[0]! < zoom[1]!) {
    state.zoom = [zoom[0] as number, zoom[1] as number];
  }
  return state;
}

/** `pixels`: how wide the plot is; more points than two a pixel are thinned out. */
export function chartModel(points: ReadonlyMap<string, RunPoints>, state: CurvesState, pixels: number): ChartModel {
  const shown = shownRuns(points, state);
  const exits = allExits(shown.map(({ points: own }) => own));
  const range = state.zoom ?? fullRange(shown.map(({ points: own }) => own));
  const curves: Curve[] = [];
  const references: Reference[] = [];
  shown.forEach(({ run, points: own }, place) => {
    const { training, heldOut } = columnsOf(own, state.view);
    const visible = exitsOf(own).filter((exit) => !state.hidden.includes(exit));
    const raw = visible.map((exit) => training.values[exit] ?? []);
    const smoothed = state.smoothing > 0 ? raw.map((column) => smoothGrowing(column, state.smoothing)) : [];
    // One point beyond each edge, so that lines run out of the picture.
    const start = Math.max(0, indexAt(training.steps, range[0]));
    const end = Math.min(training.steps.length, indexAt(training.steps, range[1]) + 2);
    const kept = thin([...raw, ...smoothed], start, end, Math.max(1, pixels));
    const steps = kept.map((i) => training.steps[i]!);
    const pick = (column: readonly (number | null)[]): (number | null)[] => kept.map((i) => column[i] ?? null);
    visible.forEach((exit, i) => {
      const common = { run, exit, shade: exitShade(exit, exits), place };
      if (steps.length > 0) {
        curves.push({ ...common, kind: 'raw', steps, values: pick(raw[i]!) });
        if (state.smoothing > 0) curves.push({ ...common, kind: 'smooth', steps, values: pick(smoothed[i]!) });
      }
      const evaluated = heldOut.values[exit];
      if (evaluated) curves.push({ ...common, kind: 'heldOut', steps: heldOut.steps, values: evaluated });
    });
    const value = lastValue(heldOut.values.final);
    if (value !== null && !state.hidden.includes('final')) references.push({ run, place, value });
  });
  return { view: state.view, curves, references, range };
}

/** Exits of the runs that are shown, in the order of the stream: the legend, and the palette. */
export function legendExits(points: ReadonlyMap<string, RunPoints>, state: CurvesState): string[] {
  return allExits(shownRuns(points, state).map(({ points: own }) => own));
}

function shownRuns(
  points: ReadonlyMap<string, RunPoints>,
  { front, compared }: CurvesState,
): { run: string; points: RunPoints }[] {
  const names = [...new Set([...(front === null ? [] : [front]), ...compared])];
  return names.flatMap((run) => {
    const own = points.get(run);
    return own ? [{ run, points: own }] : [];
  });
}

function allExits(runs: readonly RunPoints[]): string[] {
  const names = new Set(runs.flatMap(exitsOf));
  return [...names].sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10) || a.localeCompare(b));
}

function fullRange(runs: readonly RunPoints[]): [number, number] {
  const edges = runs.flatMap(({ training, heldOut }) =>
    [training.steps, heldOut.steps].flatMap((steps) => (steps.length > 0 ? [steps[0]!, steps.at(-1)!] : [])),
  );
  if (edges.length === 0) return [0, 1];
  const [low, high] = [Math.min(...edges), Math.max(...edges)];
  return low === high ? [low, low + 1] : [low, high];
}
