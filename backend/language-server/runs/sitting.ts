/** One part of a run in one process: its job from its text to its end, and what the events change in its summary. */
import { describeError, UserError } from '../../../protocol/errors.ts';
import type { TuneEvent } from '../../../protocol/events.ts';
import type { TuneOptions } from '../../../protocol/options/options.ts';
import type { RunSummary } from '../../../protocol/server.ts';
import type { Engine } from '../../worker/engine.ts';
import { progressOf } from '../run-texts.ts';
import type { Ledger } from './ledger.ts';
import { ended, type Live, type Outcome } from './live.ts';

/** Never throws: an error becomes the end of the run. */
export async function runSitting(
  engine: Engine,
  ledger: Ledger,
  live: Live,
  options: TuneOptions,
  isLeaving: () => boolean,
): Promise<Outcome> {
  let isFinished = false;
  let warning: string | null = null;
  try {
    const data = await ledger.textOf(live, options.data);
    if (isLeaving() || live.intent !== null) return ended(live, live.intent ?? 'stopped');
    const other = engine.running(options.model);
    if (other !== null) ledger.update(live, { message: `Waiting until ${other} is done with this model …` });
    const job = (live.job = engine.start('tune', { ...options, data }));
    for await (const event of job.read()) {
      ledger.append(live, event);
      const change = summaryChange(event, live.record.summary);
      if (change) ledger.update(live, change);
      if (event.type === 'tuned' && !event.stopped) isFinished = true;
      if (event.type === 'warning') warning = event.message;
    }
    await job.finished;
  } catch (error) {
    const isIntended = live.intent !== null && error instanceof UserError && error.code === 'cancelled';
    if (!isIntended) return { state: 'failed', message: describeError(error) };
  }
  if (isFinished) return { state: 'finished', message: 'Done.' };
  // One that ends by itself says what the user has to do, such as handing a script to Slurm.
  if (live.intent === null && warning !== null) return { state: 'stopped', message: warning };
  return ended(live, live.intent ?? 'stopped');
}

/** What an event changes of the run's line. */
function summaryChange(event: TuneEvent, { clock }: RunSummary): Partial<RunSummary> | null {
  switch (event.type) {
    case 'step': {
      const { step, steps, tokensPerSecond, secondsLeft } = event;
      const exits = Object.keys(event.losses).filter((exit) => exit !== 'final');
      return { step, steps, tokensPerSecond, secondsLeft, exits, message: `Step ${step} of ${steps}` };
    }
    case 'phase':
    case 'progress':
      return { message: progressOf(event).message };
    case 'ready':
      return { exits: event.exits.map(({ exit }) => exit), message: `${event.model} on ${event.device}` };
    case 'saved':
      return { directory: event.path };
    case 'tuned':
      return { directory: event.directory, step: event.step, secondsLeft: 0 };
    case 'calibrated':
      return { message: `Calibrated: ${event.fastest} is fastest` };
    // A preset's minutes may have been too few.
    case 'minutes':
      return clock ? { clock: { ...clock, minutes: event.minutes } } : null;
    case 'memory':
    case 'planned':
    case 'evaluation':
    case 'expected':
    case 'note':
    case 'warning':
      return null;
  }
}
