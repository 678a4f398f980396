/** Warnings that parts of a run collect while it computes, among its events. */
import type { TuneEvent } from '../../../protocol/events.ts';

/** The events of a run. Warnings that were collected meanwhile come before the next event, before the end, and before an error. */
export async function* withWarnings<Result>(
  events: AsyncGenerator<TuneEvent, Result>,
  collected: () => readonly string[],
): AsyncGenerator<TuneEvent, Result> {
  const warnings = (): TuneEvent[] => collected().map((message) => ({ type: 'warning', message }));
  try {
    for (;;) {
      const next = await events.next();
      yield* warnings();
      if (next.done) return next.value;
      yield next.value;
    }
  } catch (error) {
    yield* warnings();
    throw error;
  } finally {
    // Whoever takes no more events ends the run, too.
    await events.return(undefined as never);
  }
}
