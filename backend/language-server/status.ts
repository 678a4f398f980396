/** What the backend does now, put together from its runs and generations. */
import type { GenerateReadyEvent, ReadyEvent } from '../../protocol/events.ts';
import type { Activity, RunEvent, RunSummary, Status } from '../../protocol/server.ts';

export interface StatusKeeper {
  now(): Status;
  /** A job has loaded its model. */
  ready(event: ReadyEvent | GenerateReadyEvent): void;
  /** A generation or a completion has ended. */
  written(what: NonNullable<Status['last']>, tokensPerSecond: number): void;
  runChanged(run: RunSummary): void;
  runReported(event: RunEvent): void;
  /** The activity while some work lasts. */
  during<T>(activity: Activity, work: () => Promise<T>): Promise<T>;
}

export function createStatus(changed: (status: Status) => void): StatusKeeper {
  const running = new Map<string, RunSummary>();
  const others: Activity[] = [];
  let device: string | null = null;
  let model: string | null = null;
  let mode: Status['mode'] = null;
  let written: Status['last'] = null;
  let tokensPerSecond: number | null = null;
  let last = '';

  const now = (): Status => {
    const run = [...running.values()].at(-1);
    return {
      activity: others.at(-1) ?? (run ? 'tuning' : 'idle'),
      model,
      device,
      last: written,
      mode,
      tokensPerSecond,
      detail: run && others.length > 0 ? 'Slower while exits are tuned.' : (run?.message ?? ''),
    };
  };
  const tell = (): void => {
    const status = now();
    const text = JSON.stringify(status);
    if (text !== last) changed(status);
    last = text;
  };
  const ready = (event: ReadyEvent | GenerateReadyEvent): void => {
    if (event.model !== model) [mode, written, tokensPerSecond] = [null, null, null];
    ({ device, model } = event);
    if ('mode' in event) mode = event.mode;
    tell();
  };
  return {
    now,
    ready,
    written(what, speed) {
      [written, tokensPerSecond] = [what, speed];
      tell();
    },
    runChanged(run) {
      if (run.state === 'running') running.set(run.id, run);
      else running.delete(run.id);
      tell();
    },
    runReported({ event }) {
      if (event.type === 'ready') ready(event);
    },
    async during(activity, work) {
      others.push(activity);
      tell();
      try {
        return await work();
      } finally {
        others.splice(others.lastIndexOf(activity), 1);
        tell();
      }
    },
  };
}
