/**
 * Memory that is read again and again, laid out in large pages in the background: in pauses, since it takes a core some two seconds a
 * gigabyte, in which what computes waits; without one only where much is computed. Knows addresses, no tensors.
 */

/** Some memory, of which the first `used` bytes are written. */
export interface Memory {
  readonly from: bigint;
  readonly used: number;
}

export interface LargePages {
  add(memory: Memory): void;
  remove(memory: Memory): void;
  /** So long was computed; milliseconds. */
  computed(milliseconds: number): void;
}

/** Milliseconds without computing. */
const pause = 300;
/** Milliseconds of computing, a megabyte, that lose as much without large pages as it takes to lay them out. */
const worthwhile = 20;
const pageBytes = 1 << 21;
/** Laid out in one go: what computes, ends or frees meanwhile waits for no more. */
const stepBytes = 8 * pageBytes;

/** `collapse` lays out whole pages from an address that is a multiple of theirs. */
export function newLargePages(collapse: (from: bigint, bytes: number) => Promise<void>): LargePages {
  /** What is not laid out, and from which byte on. */
  const waiting = new Map<Memory, number>();
  let computed = 0;
  let graphs = 0;
  let isAtWork = false;
  let resting: NodeJS.Timeout | null = null;

  const work = async (goesOn: () => boolean): Promise<void> => {
    for (const [memory, from] of waiting) {
      const offset = Number(BigInt.asUintN(64, -memory.from) % BigInt(pageBytes));
      const end = memory.used - ((memory.used - offset) % pageBytes);
      for (let at = Math.max(from, offset); at < end; at += stepBytes) {
        if (!waiting.has(memory)) break;
        if (!goesOn()) return void waiting.set(memory, at);
        await collapse(memory.from + BigInt(at), Math.min(stepBytes, end - at));
      }
      waiting.delete(memory);
    }
    computed = 0;
  };
  const begin = (goesOn: () => boolean): void => {
    if (isAtWork || waiting.size === 0) return;
    isAtWork = true;
    void work(goesOn).finally(() => (isAtWork = false));
  };
  const rest = (): void => {
    const at = graphs;
    begin(() => graphs === at);
  };
  const bytes = (): number => [...waiting.keys()].reduce((sum, { used }) => sum + used, 0);
  return {
    add: (memory) => void waiting.set(memory, 0),
    remove: (memory) => void waiting.delete(memory),
    computed(milliseconds) {
      graphs++;
      if (waiting.size === 0) return;
      computed += milliseconds;
      resting ??= setTimeout(rest, pause).unref();
      resting.refresh();
      if (computed >= (worthwhile * bytes()) / 1e6) begin(() => true);
    },
  };
}
