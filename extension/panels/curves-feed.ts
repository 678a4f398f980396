/** The data of the Loss Curves: the events of runs, sent together and each once, and the summaries of runs. Knows no panel. */
import * as vscode from 'vscode';
import { doneShare, secondsLeft, spentSeconds } from '../../protocol/run-clock.ts';
import * as protocol from '../../protocol/server.ts';
import type { RunEvent, RunSummary } from '../../protocol/server.ts';
import type { CurveRun, HostMessage } from '../../protocol/webview.ts';
import type { Backend } from '../backend/backend.ts';
import { planOf, pointsOf, sweepOf } from './curve-points.ts';
import type { Runs } from '../runs/runs.ts';

export interface CurvesFeed {
  /** Posts the summaries of runs. */
  runs(): void;
  /** Reads and posts everything anew: the webview has nothing. */
  all(): Promise<void>;
  /** Takes an event that is posted soon. */
  take(event: RunEvent): void;
  /** Posts new events soon, and the summaries of runs. */
  soon(): void;
}

/** There may be a dozen steps per second; the panel gets them together. */
const BATCH_MILLISECONDS = 100;

export function createCurvesFeed(
  backend: Backend,
  runs: Runs,
  post: (message: HostMessage) => void,
  subscriptions: vscode.Disposable[],
): CurvesFeed {
  const waiting = new Map<string, RunEvent[]>();
  /** Events of each run that the webview has: later ones only are passed on. */
  const sent = new Map<string, number>();
  let timer: NodeJS.Timeout | null = null;
  subscriptions.push(new vscode.Disposable(() => timer && clearTimeout(timer)));

  const postRuns = (): void => post({ type: 'runs', runs: runs.list().map(curveRun) });

  const postPoints = (run: string, events: readonly RunEvent[]): void => {
    const from = sent.get(run) ?? 0;
    const fresh = events.filter((event) => event.index >= from);
    if (fresh.length === 0) return;
    sent.set(run, fresh.at(-1)!.index + 1);
    const freshEvents = fresh.map(({ event }) => event);
    for (const message of [planOf(run, freshEvents), pointsOf(run, freshEvents), sweepOf(run, freshEvents)])
      if (message) post(message);
  };

  const readAll = async (run: string): Promise<void> => {
    const { events } = await backend.send(protocol.readRun, { id: run, from: sent.get(run) ?? 0 });
    postPoints(run, events);
  };

  const flush = (): void => {
    timer = null;
    for (const [run, events] of waiting) {
      // If the webview lacks earlier events of a run, it gets all of them.
      if ((sent.get(run) ?? 0) < (events[0]?.index ?? 0))
        readAll(run).catch((error: unknown) => backend.log.warn(String(error)));
      else postPoints(run, events);
    }
    waiting.clear();
    postRuns();
  };

  const soon = (): void => {
    timer ??= setTimeout(flush, BATCH_MILLISECONDS);
  };

  return {
    runs: postRuns,
    async all() {
      sent.clear();
      await runs.refresh();
      postRuns();
      for (const run of runs.list()) await readAll(run.id);
    },
    take(event) {
      const events = waiting.get(event.id);
      if (events) events.push(event);
      else waiting.set(event.id, [event]);
      soon();
    },
    soon,
  };
}

const curveRun = (run: RunSummary): CurveRun => ({
  id: run.id,
  title: run.title,
  state: run.state,
  startedAt: run.startedAt,
  step: run.step,
  steps: run.steps,
  tokensPerSecond: run.tokensPerSecond,
  spent: run.clock ? spentSeconds(run.clock, Date.now()) : null,
  left: secondsLeft(run, Date.now()),
  share: doneShare(run, Date.now()),
  byMinutes: run.clock !== undefined && run.clock.minutes !== null,
  message: run.message,
});
