/** An engine whose jobs are driven by the test: events in, cancel seen, end or error. */
import { broadcast } from '../../../backend/worker/broadcast.ts';
import type { JobName } from '../../../protocol/jobs.ts';
import type { Engine, Job } from '../../../backend/worker/engine.ts';

export interface FakeJob {
  readonly recipe: string;
  readonly options: Record<string, unknown>;
  cancelled: boolean;
  push(event: unknown): void;
  end(error?: Error): void;
}

export function fakeEngine(
  onStart: (job: FakeJob) => void = () => {},
  running: JobName | null = null,
): Engine & { readonly jobs: FakeJob[] } {
  const jobs: FakeJob[] = [];
  return {
    jobs,
    start<Name extends JobName>(recipe: Name, options: object): Job<Name> {
      const events = broadcast<never>();
      const fake: FakeJob = {
        recipe,
        options: options as Record<string, unknown>,
        cancelled: false,
        push: (event) => events.push(event as never),
        end: (error) => events.end(error ?? null),
      };
      jobs.push(fake);
      queueMicrotask(() => onStart(fake));
      return {
        recipe,
        finished: events.ended,
        read: () => events.read(),
        send: () => undefined,
        cancel: () => {
          fake.cancelled = true;
          events.end(null);
        },
      };
    },
    running: () => running,
    dispose: async () => {},
  };
}
