/** Events that recipes share: what a command works with, and how far a task is that reports through a callback or as a generator. */
import { setImmediate } from 'node:timers/promises';
import type { Phase, ProgressEvent, ReadyEvent } from '../../protocol/events.ts';
import { exitId, type ExitSpec } from '../exits/spec.ts';
import type { Model } from '../model/open.ts';
import { inStreamOrder } from './opening/backbone.ts';

/** `exits`: in any order. `device`: its name. */
export const readyEvent = (
  { name, spec }: Pick<Model, 'name' | 'spec'>,
  exits: readonly ExitSpec[],
  device: string,
): ReadyEvent => ({
  type: 'ready',
  model: name,
  layers: spec.layers.length,
  exits: inStreamOrder(exits).map((exit) => ({ exit: exitId(exit), layer: exit.layer })),
  device,
});

type Report = (done: number, total: number) => void;

/** Events a second, at most; the last one always comes. */
const interval = 100;

/** Runs `work` and yields what it reports; returns its result or throws its error. */
export async function* reporting<T>(
  phase: Phase,
  unit: string,
  work: (report: Report) => Promise<T>,
): AsyncGenerator<ProgressEvent, T> {
  let latest: ProgressEvent | null = null;
  let wake: () => void = () => undefined;
  const task = work((done, total) => {
    latest = { type: 'progress', phase, done, total, unit };
    wake();
  });
  const settled = task.then(
    () => true,
    () => true,
  );
  let shown = -Infinity;
  for (;;) {
    const reported = new Promise<false>((resolve) => (wake = () => resolve(false)));
    const over = await Promise.race([settled, latest ? Promise.resolve(false) : reported]);
    const event = latest as ProgressEvent | null;
    latest = null;
    if (event && (over || event.done === event.total || performance.now() - shown >= interval)) {
      shown = performance.now();
      yield event;
    }
    if (over) return task;
  }
}

/** Passes on how far a generator is; returns its result. */
export async function* counting<T>(
  phase: Phase,
  unit: string,
  steps: AsyncGenerator<{ readonly done: number; readonly total: number }, T>,
  signal: AbortSignal,
): AsyncGenerator<ProgressEvent, T> {
  for (;;) {
    const next = await steps.next();
    if (next.done) return next.value;
    yield { type: 'progress', phase, ...next.value, unit };
    // The runtime computes without giving way: let messages in.
    await setImmediate();
    if (signal.aborted) await steps.return(undefined as never);
    signal.throwIfAborted();
  }
}
