/** What happens to a run's news: it is kept in memory, written to disk if runs are recorded, and sent to the client. */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { describeError } from '../../../protocol/errors.ts';
import type { TuneEvent } from '../../../protocol/events.ts';
import * as clocks from '../../../protocol/run-clock.ts';
import type { RunEvent, RunSummary } from '../../../protocol/server.ts';
import { identityOf } from '../../system/processes.ts';
import { withClock, type Live } from './live.ts';
import { snapshotText } from './snapshot.ts';
import type { RunStore } from './store.ts';

export interface LedgerOptions {
  /** Null keeps runs in memory only. */
  readonly store: RunStore | null;
  readonly reported: (event: RunEvent) => void;
  readonly changed: (run: RunSummary) => void;
  /** Called once if a run could not be recorded; the run goes on. */
  readonly warn: (message: string) => void;
}

export interface Ledger {
  /** Records a run as it is: as this process's while it runs. */
  save(live: Live): void;
  /** Records a run that this process leaves as running, so that the next process resumes it. */
  release(live: Live): void;
  /** Changes the summary of a run. */
  update(live: Live, change: Partial<RunSummary>): RunSummary;
  append(live: Live, event: TuneEvent): void;
  /** Patterns of the run's text as it was in the beginning, if runs are recorded. */
  textOf(live: Live, data: readonly string[]): Promise<readonly string[]>;
  /** Removes the text of a finished run, which is not resumed any more. */
  dropText(live: Live): void;
}

export function openLedger({ store, reported, changed, warn }: LedgerOptions): Ledger {
  const self = identityOf(process.pid);
  let warned = false;

  const write = (done: Promise<void> | undefined): void => {
    done?.catch((error: unknown) => {
      if (!warned) warn(`Runs cannot be recorded: ${describeError(error)}`);
      warned = true;
    });
  };

  return {
    save(live) {
      const { summary, options } = live.record;
      const owner = summary.state === 'running' ? self : null;
      live.record = { summary: withClock(summary, clocks.ticked), options, owner };
      write(store?.save(live.record));
    },
    release(live) {
      live.record = { ...live.record, owner: null };
      write(store?.save(live.record));
    },
    update(live, change) {
      live.record = { ...live.record, summary: { ...live.record.summary, ...change } };
      changed(live.record.summary);
      return live.record.summary;
    },
    append(live, event) {
      const { id } = live.record.summary;
      const index = live.events.push(event) - 1;
      write(store?.append(id, [event]));
      reported({ id, index, event });
    },
    async textOf(live, data) {
      if (!store) return data;
      const file = store.textFile(live.record.summary.id);
      if (!existsSync(file)) await snapshotText(data, file);
      return [file];
    },
    dropText(live) {
      if (store) rm(store.textFile(live.record.summary.id), { force: true }).catch(() => undefined);
    },
  };
}
