/**
 * Times texts while they are written side by side, a pass of one and then a pass of another. A machine's speed drifts within a second, so
 * texts that are written one after the other differ by more than most exits bring.
 */
import type { BatchRequest } from '../decoding/batch.ts';
import type { Session } from '../decoding/session.ts';

/** Time and tokens of one text. */
export interface Timed {
  readonly seconds: number;
  readonly tokens: number;
}

/** Events of a session, or of another writer; `tokens` of one pass. */
type Event = { readonly type: 'prompt' | 'stop' } | { readonly type: 'tokens'; readonly tokens: readonly unknown[] };
type Events = AsyncIterator<Event>;

/**
 * Seconds after the prompts, and the tokens written in them, which include the first token, a result of the prompt's pass. The text with
 * the fewest tokens takes the next pass, so that all write the same part of a text while the machine is as fast. `onTurn` is told whose pass
 * follows.
 * @throws the error of a text, and the signal's reason; all texts are then left.
 */
export async function timeSideBySide(
  texts: readonly Events[],
  signal?: AbortSignal,
  onTurn: (text: number) => void = () => undefined,
): Promise<Timed[]> {
  const timed = texts.map((events, i) => ({ i, events, seconds: 0, tokens: 0 }));
  try {
    for (const { i, events } of timed) {
      onTurn(i);
      await promptOf(events);
    }
    const open = new Set(timed);
    while (open.size > 0) {
      signal?.throwIfAborted();
      const next = [...open].reduce((least, one) => (one.tokens < least.tokens ? one : least));
      onTurn(next.i);
      const began = performance.now();
      const event = await next.events.next();
      next.seconds += (performance.now() - began) / 1000;
      if (event.done) open.delete(next);
      else if (event.value.type === 'tokens') next.tokens += event.value.tokens.length;
    }
  } finally {
    for (const { events } of timed) await events.return?.();
  }
  return timed.map(({ seconds, tokens }) => ({ seconds, tokens }));
}

/** The same of texts in sessions. Those that share one share what is read of a prompt; a pass is only of the text whose turn it is. */
export function timeTexts(
  texts: readonly { readonly session: Session; readonly request: BatchRequest }[],
  signal: AbortSignal,
): Promise<Timed[]> {
  let turn = 0;
  const writing = texts.map(({ session, request }, i) => {
    const inTurn: BatchRequest = {
      ...request,
      get urgency() {
        return i === turn ? 1 : 0;
      },
    };
    return session.write([inTurn]);
  });
  return timeSideBySide(writing, signal, (i) => (turn = i));
}

/** Reads the events up to that of the prompt. */
async function promptOf(events: Events): Promise<void> {
  let event = await events.next();
  while (!event.done && event.value.type !== 'prompt') event = await events.next();
}
