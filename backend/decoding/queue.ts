/** States of consecutive tokens that wait for a stage: `[count, width]`, the first at position `start`. */

export interface Queue {
  readonly width: number;
  start: number;
  count: number;
  buffer: Float32Array;
}

export const emptyQueue = (width: number): Queue => ({ width, start: 0, count: 0, buffer: new Float32Array(0) });

/** Adds states `[tokens, width]` behind the last. */
export function append(queue: Queue, states: Float32Array): void {
  const used = queue.count * queue.width;
  const needed = used + states.length;
  if (queue.buffer.length < needed) {
    const grown = new Float32Array(Math.max(needed, 2 * queue.buffer.length));
    grown.set(queue.buffer.subarray(0, used));
    queue.buffer = grown;
  }
  queue.buffer.set(states, used);
  queue.count += states.length / queue.width;
}

/** The states of the first `count` tokens; valid until the queue changes. */
export const front = (queue: Queue, count: number): Float32Array => queue.buffer.subarray(0, count * queue.width);

/** The states of the last `count` tokens; valid until the queue changes. */
export const back = (queue: Queue, count: number): Float32Array =>
  queue.buffer.subarray((queue.count - count) * queue.width, queue.count * queue.width);

/** Drops the first `count` tokens. */
export function dropFront(queue: Queue, count: number): void {
  queue.buffer.copyWithin(0, count * queue.width, queue.count * queue.width);
  queue.start += count;
  queue.count -= count;
}

/** Drops every token from `position` on. */
export function truncateQueue(queue: Queue, position: number): void {
  queue.count = Math.max(0, Math.min(queue.count, position - queue.start));
  queue.start = Math.min(queue.start, position);
}
