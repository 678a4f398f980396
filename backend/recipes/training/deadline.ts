/** A deadline after a cancellation: another machine may never answer. */
import { setTimeout } from 'node:timers/promises';

/**
 * The events of `source`. If it has not ended `milliseconds` after the signal was aborted, the signal's reason is thrown instead, and the
 * source is abandoned without running to its end.
 */
export async function* untilLate<Event, Result>(
  source: AsyncGenerator<Event, Result>,
  signal: AbortSignal,
  milliseconds: number,
): AsyncGenerator<Event, Result> {
  const over = new AbortController();
  const late = new Promise<never>((_, reject) => {
    const begin = (): void => {
      setTimeout(milliseconds, undefined, { signal: over.signal }).then(
        () => reject(signal.reason as Error),
        () => {},
      );
    };
    if (signal.aborted) begin();
    else signal.addEventListener('abort', begin, { once: true, signal: over.signal });
  });
  late.catch(() => {});
  let isAtWork = false;
  try {
    for (;;) {
      isAtWork = true;
      const next = await Promise.race([source.next(), late]);
      isAtWork = false;
      if (next.done) return next.value;
      yield next.value;
    }
  } finally {
    over.abort();
    // A reader that stops early ends the source, too, unless that would wait for it.
    if (!isAtWork) await source.return(undefined as never);
  }
}
