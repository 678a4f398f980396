/**
 * Moves memory that is read again and again to large pages in the background. That takes a core some two seconds per gigabyte, during which
 * computing waits. So it is done in pauses, or, if much is computed without a pause, in between. Knows addresses, no tensors.
 */

/** A piece of memory; its first `used` bytes have been written. */
export interface Memory {
  readonly from: bigint;
  readonly used: number;
}

export interface LargePages {
  /** To be called again after more of it has been written. */
  add(memory: Memory): void;
  remove(memory: Memory): void;
  /** Adds this time of computing; milliseconds. */
  computed(milliseconds: number): void;
}

/** Milliseconds in which nothing is computed and no memory comes. */
const pause = 300;
/** Milliseconds of computing, a megabyte, that lose as much without large pages as it takes to lay them out. */
const worthwhile = 20;
const pageBytes = 1 << 21;
/** Bytes that are moved at once: computing, ending or freeing waits for no more than these. */
const stepBytes = 8 * pageBytes;

/** `collapse` lays out whole pages from an address that is a multiple of theirs. */
export function newLargePages(collapse: (from: bigint, bytes: number) => Promise<void>): LargePages {
  /** Up to which byte each is laid out. */
  const laidOut = new Map<Memory, number>();
  /** Whether there may be more to lay out. */
  let isWaiting = false;
  let computed = 0;
  let disturbances = 0;
  let isAtWork = false;
  let resting: NodeJS.Timeout | null = null;

  /** The next whole pages that are not laid out, few enough for one go; null if there are none. */
  const next = (): { memory: Memory; at: number; bytes: number } | null => {
    for (const [memory, from] of laidOut) {
      const offset = Number(BigInt.asUintN(64, -memory.from) % BigInt(pageBytes));
      const end = memory.used - ((memory.used - offset) % pageBytes);
      const at = Math.max(from, offset);
      if (at < end) return { memory, at, bytes: Math.min(stepBytes, end - at) };
    }
    return null;
  };

  const work = async (goesOn: () => boolean): Promise<void> => {
    for (let pages = next(); pages !== null; pages = next()) {
      if (!goesOn()) return;
      const { memory, at, bytes } = pages;
      laidOut.set(memory, at + bytes);
      await collapse(memory.from + BigInt(at), bytes);
    }
    isWaiting = false;
    computed = 0;
  };
  const begin = (goesOn: () => boolean): void => {
    if (isAtWork || !isWaiting) return;
    isAtWork = true;
    void work(goesOn).finally(() => (isAtWork = false));
  };
  const rest = (): void => {
    const at = disturbances;
    begin(() => disturbances === at);
  };
  const disturb = (): void => {
    disturbances++;
    resting ??= setTimeout(rest, pause).unref();
    resting.refresh();
  };
  const bytes = (): number => [...laidOut].reduce((sum, [{ used }, from]) => sum + used - from, 0);
  return {
    add(memory) {
      if (!laidOut.has(memory)) laidOut.set(memory, 0);
      isWaiting = true;
      disturb();
    },
    remove: (memory) => void laidOut.delete(memory),
    computed(milliseconds) {
      if (!isWaiting) return;
      disturb();
      computed += milliseconds;
      if (computed >= (worthwhile * bytes()) / 1e6) begin(() => true);
    },
  };
}
