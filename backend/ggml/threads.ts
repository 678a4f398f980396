/**
 * How many threads compute: all that were asked for, or one while other programs want the cores. ggml's threads wait for each
 * other, awake, after every operator; one that the system has put aside for milliseconds holds up all, hundreds of times a token.
 */

export interface ThreadGovernor {
  /** Threads of the next graph. */
  count(): number;
  /** A graph took so long with so many threads, which used so much processor time; milliseconds. */
  took(threads: number, wall: number, processor: number): void;
}

/** Share of their processor time that threads get on a machine of their own, at least. */
const undisturbed = 0.8;
/** A graph shorter than this says nothing: clocks are too coarse. */
const leastMilliseconds = 2;
/** After one disturbed graph, one thread computes for so long; twice as long after each that is disturbed again. */
const firstRest = 500;
const longestRest = 8000;

export function newGovernor(threads: number, now: () => number = () => performance.now()): ThreadGovernor {
  let rest = firstRest;
  let until = -Infinity;
  return {
    count: () => (now() < until ? 1 : threads),
    took(used, wall, processor) {
      if (used === 1 || wall < leastMilliseconds) return;
      if (processor >= undisturbed * used * wall) {
        rest = firstRest;
      } else {
        until = now() + rest;
        rest = Math.min(longestRest, 2 * rest);
      }
    },
  };
}
