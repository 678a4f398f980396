/** The runs of the backend, kept up to date for views, panel and status; starts no run. */
import * as vscode from 'vscode';
import * as protocol from '../../protocol/server.ts';
import type { RunEvent, RunSummary } from '../../protocol/server.ts';
import type { Backend } from '../backend/backend.ts';
import { requireTrust } from '../settings/workspace-trust.ts';

export interface Runs {
  /** Newest first; empty until the first `refresh`. */
  list(): readonly RunSummary[];
  find(id: string): RunSummary | undefined;
  running(): RunSummary | undefined;
  /** Requests the runs from the backend, which is started for it. */
  refresh(): Promise<void>;
  pause(id: string): Promise<RunSummary>;
  /** Null if the folder is not trusted; a message says so. */
  resume(id: string): Promise<RunSummary | null>;
  stop(id: string): Promise<RunSummary>;
  readonly onChange: vscode.Event<RunSummary | null>;
  readonly onEvent: vscode.Event<RunEvent>;
}

export function createRuns(backend: Backend, subscriptions: vscode.Disposable[]): Runs {
  const changed = new vscode.EventEmitter<RunSummary | null>();
  const reported = new vscode.EventEmitter<RunEvent>();
  let runs = new Map<string, RunSummary>();

  const list = (): RunSummary[] => [...runs.values()].sort((a, b) => b.startedAt.localeCompare(a.startedAt));
  const running = (): RunSummary | undefined => list().find((run) => run.state === 'running');
  const tell = (run: RunSummary | null): void => {
    void vscode.commands.executeCommand('setContext', 'earlyExit.running', running() !== undefined);
    changed.fire(run);
  };
  const refresh = async (): Promise<void> => {
    const all = await backend.send(protocol.listRuns, {});
    runs = new Map(all.map((run) => [run.id, run]));
    tell(null);
  };
  subscriptions.push(
    changed,
    reported,
    backend.listen(protocol.runChanged, (run) => {
      runs.set(run.id, run);
      tell(run);
    }),
    backend.listen(protocol.runReported, (event) => reported.fire(event)),
    backend.onReady(() => void refresh().catch((error: unknown) => backend.log.warn(String(error)))),
  );
  return {
    list,
    find: (id) => runs.get(id),
    running,
    refresh,
    pause: (id) => backend.send(protocol.pauseRun, { id }),
    resume: async (id) => (requireTrust() ? backend.send(protocol.resumeRun, { id }) : null),
    stop: (id) => backend.send(protocol.stopRun, { id }),
    onChange: changed.event,
    onEvent: reported.event,
  };
}
