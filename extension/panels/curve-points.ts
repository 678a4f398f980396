/** Events of a run as the columns that the curves are drawn from. Pure; knows no `vscode`. */
import type { TuneEvent } from '../../protocol/events.ts';
import type { JobOutcome } from '../../protocol/server.ts';
import type { Columns, HostMessage } from '../../protocol/webview.ts';

type PointsMessage = Extract<HostMessage, { type: 'points' }>;
type PlanMessage = Extract<HostMessage, { type: 'plan' }>;
type SweepMessage = Extract<HostMessage, { type: 'sweep' }>;

/** How the minutes of a run are divided, by the last plan in these events; null if there is none. */
export function planOf(run: string, events: readonly TuneEvent[]): PlanMessage | null {
  const planned = events.findLast((event) => event.type === 'minutes');
  return planned ? { type: 'plan', run, plan: { total: 60 * planned.minutes, ...planned.seconds } } : null;
}

/** What leaving early brings, by the last calibration in these events; null if none says. */
export function sweepOf(run: string, events: readonly (TuneEvent | JobOutcome)[]): SweepMessage | null {
  const calibrated = events.findLast((event) => event.type === 'calibrated');
  if (!calibrated?.sweep) return null;
  const { brought, sweep: rows } = calibrated;
  const chosen = brought && { agreement: brought.agreement.value, speedup: brought.speedup.value };
  return { type: 'sweep', run, sweep: { rows, chosen } };
}

/** The points in some events of a run; null if there are none. If a resumed run repeats steps, the later events count. */
export function pointsOf(run: string, events: readonly TuneEvent[]): PointsMessage | null {
  const kept = withoutRepeats(events);
  if (kept.length === 0) return null;
  const training = empty();
  const gaps = empty();
  const heldOut = empty();
  const agreement = empty();
  for (const event of kept) {
    if (event.type === 'step') {
      push(training, event.step, Object.entries(event.losses));
      if (event.gaps) push(gaps, event.step, Object.entries(event.gaps));
    }
    if (event.type === 'evaluation') {
      push(
        heldOut,
        event.step,
        event.scores.map(({ exit, loss }) => [exit, loss]),
      );
      push(
        agreement,
        event.step,
        event.scores.map(({ exit, agreement: share }) => [exit, share]),
      );
    }
  }
  return { type: 'points', run, training, gaps, heldOut, agreement };
}

/** If events repeat steps, the later ones count. */
function withoutRepeats(events: readonly TuneEvent[]): TuneEvent[] {
  const kept: TuneEvent[] = [];
  let first = Infinity;
  let evaluated = Infinity;
  for (let i = events.length - 1; i >= 0; i--) {
    const event = events[i]!;
    if (event.type === 'step') {
      if (event.step >= first) continue;
      first = event.step;
      kept.push(event);
    } else if (event.type === 'evaluation' && event.step <= first && event.step < evaluated) {
      evaluated = event.step;
      kept.push(event);
    }
  }
  return kept.reverse();
}

const empty = (): Columns => ({ steps: [], values: {} });

function push(columns: Columns, step: number, values: readonly (readonly [string, number])[]): void {
  const rows = columns.steps.push(step);
  for (const [exit, value] of values) {
    const column = (columns.values[exit] ??= []);
    while (column.length < rows - 1) column.push(null);
    column.push(Number.isFinite(value) ? value : null);
  }
  for (const column of Object.values(columns.values)) if (column.length < rows) column.push(null);
}
