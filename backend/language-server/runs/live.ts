/** A run that this server knows: its record, its reports, and its current job. Plain records. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { TuneEvent } from '../../../protocol/events.ts';
import type { RunClock } from '../../../protocol/run-clock.ts';
import type { RunState, RunSummary } from '../../../protocol/server.ts';
import type { Job } from '../../worker/engine.ts';
import type { RunRecord } from './store.ts';

export interface Live {
  record: RunRecord;
  readonly events: TuneEvent[];
  job: Job<'tune'> | null;
  /** Its text is being read or its job runs. */
  active: boolean;
  /** The state of the run when its job has ended; null if it ends on its own. */
  intent: 'paused' | 'stopped' | null;
  /** Settles when the job's events are all handled. */
  followed: Promise<void>;
}

/** The final state of a run, and a sentence about it. */
export interface Outcome {
  readonly state: RunState;
  readonly message: string;
}

/** Nothing works on it yet. */
export const newLive = (record: RunRecord, events: TuneEvent[] = []): Live => ({
  record,
  events,
  job: null,
  active: false,
  intent: null,
  followed: Promise.resolve(),
});

export const withClock = (summary: RunSummary, change: (clock: RunClock, now: number) => RunClock): RunSummary =>
  summary.clock ? { ...summary, clock: change(summary.clock, Date.now()) } : summary;

/** Whether the run has a checkpoint yet. */
export const hasWork = ({ record: { summary } }: Live): boolean =>
  summary.directory !== '' && existsSync(path.join(summary.directory, 'exits.json'));

/** A run that was ended before its own end. */
export function ended(live: Live, state: 'paused' | 'stopped'): Outcome {
  const work = hasWork(live) ? 'the work is kept' : 'there was no work to keep yet';
  return { state, message: `${state === 'paused' ? 'Paused' : 'Stopped'}; ${work}.` };
}
