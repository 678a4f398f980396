/** A thread that computes answers messages, too: it gives way to them between pieces of its work. */
import { setImmediate } from 'node:timers/promises';

/** Milliseconds of work after which messages have a turn. A turn takes a twentieth of one, and a small model's token only one or two. */
const mostWork = 5;

let lastTurn = 0;

/** Lets messages and other work of this thread have a turn, if it has worked for some milliseconds since their last one. */
export async function giveWay(): Promise<void> {
  if (performance.now() - lastTurn < mostWork) return;
  await setImmediate();
  lastTurn = performance.now();
}
