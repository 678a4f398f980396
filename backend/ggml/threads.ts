/**
 * The number of threads that compute: the requested number, or fewer while other programs use the cores. ggml's threads wait for each other
 * in busy loops after every operator. If the system suspends one for milliseconds, all wait, hundreds of times per token.
 */

export interface ThreadGovernor {
  /** Threads of the next graph. */
  count(): number;
  /** Whether the processor time of the next graph is wanted. If it is, that of the graphs that follow at once is not. */
  isJudging(): boolean;
  /** What a graph took with `threads` threads: wall time and processor time, in milliseconds. */
  took(threads: number, wall: number, processor: number): void;
}

/** A graph shorter than this is not judged: clocks are too coarse. */
const leastMilliseconds = 2;
/**
 * Asking for the processor time takes a tenth of a millisecond behind a graph that has filled the caches. So not every graph of a small model
 * is judged, and few of any model while none is disturbed; milliseconds.
 */
const judgedEvery = { quiet: 60, doubtful: 12 };
/** Graphs are judged together: what the program itself does beside one, such as collecting garbage, is no reason to rest. */
const judged = 250;
/** After disturbed graphs half of the threads compute for this time; twice as long each time that all are disturbed again. */
const firstRest = 500;
const longestRest = 8000;

/**
 * Share of their time that `n` threads use on the processor, below which half of them are faster. One that gets the share p of a
 * core, while the others wait for it, awake, leaves (n − 1 + p) ÷ n of it used, and the speed p; half of the threads give ½.
 */
const leastShare = (n: number): number => (n - 0.5) / n;

/** Wall time and processor time of graphs, in milliseconds. */
interface Taken {
  readonly threads: number;
  wall: number;
  processor: number;
}

const isDisturbed = ({ threads, wall, processor }: Taken): boolean => processor < leastShare(threads) * threads * wall;

export function newGovernor(threads: number, now: () => number = () => performance.now()): ThreadGovernor {
  let allowed = threads;
  let rest = firstRest;
  let until = -Infinity;
  let asked = -Infinity;
  /** Whether the last graph that was judged was disturbed. */
  let isDoubtful = false;
  let judging: Taken = { threads, wall: 0, processor: 0 };
  return {
    count() {
      if (now() >= until) allowed = threads;
      return allowed;
    },
    isJudging() {
      if (allowed === 1 || now() - asked < judgedEvery[isDoubtful ? 'doubtful' : 'quiet']) return false;
      asked = now();
      return true;
    },
    took(used, wall, processor) {
      if (used === 1 || wall < leastMilliseconds) return;
      if (judging.threads !== used) judging = { threads: used, wall: 0, processor: 0 };
      isDoubtful = isDisturbed({ threads: used, wall, processor });
      judging.wall += wall;
      judging.processor += processor;
      if (judging.wall < judged) return;
      const areDisturbed = isDisturbed(judging);
      judging = { threads: used, wall: 0, processor: 0 };
      if (areDisturbed) {
        allowed = used >> 1;
        if (used < threads) return;
        until = now() + rest;
        rest = Math.min(longestRest, 2 * rest);
      } else if (used === threads) {
        rest = firstRest;
      }
    },
  };
}
