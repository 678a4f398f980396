/** What the host has sent of runs, message by message. */
import type { CurvePlan, CurveRun, HostMessage, Sweep } from '../protocol/webview.ts';
import { addPoints, noPoints, type RunPoints } from './columns.ts';
import { later } from './run-figures.ts';

export interface CurvesData {
  runs: CurveRun[];
  /** Whether a list of runs has come. */
  hasRuns: boolean;
  /** The time to which the records of runs refer. */
  received: number;
  readonly points: Map<string, RunPoints>;
  readonly plans: Map<string, CurvePlan>;
  readonly sweeps: Map<string, Sweep>;
}

export const noData = (): CurvesData => ({
  runs: [],
  hasRuns: false,
  received: 0,
  points: new Map(),
  plans: new Map(),
  sweeps: new Map(),
});

/** Adds the contents of a message about runs; `now` in milliseconds. */
export function takeIn(data: CurvesData, message: HostMessage, now: number): void {
  switch (message.type) {
    case 'runs':
      data.runs = message.runs;
      data.received = now;
      data.hasRuns = true;
      return;
    case 'points': {
      const own = data.points.get(message.run) ?? noPoints();
      data.points.set(message.run, own);
      addPoints(own, message);
      return;
    }
    case 'plan':
      data.plans.set(message.run, message.plan);
      return;
    case 'sweep':
      data.sweeps.set(message.run, message.sweep);
      return;
    case 'show':
    case 'trace':
    case 'doctor':
      return;
  }
}

/** The current state of a run. */
export const runNow = ({ received }: CurvesData, run: CurveRun, now: number): CurveRun =>
  later(run, (now - received) / 1000);

export function hasPoints({ points }: CurvesData, run: string): boolean {
  const own = points.get(run);
  return own !== undefined && own.training.steps.length + own.heldOut.steps.length > 0;
}
