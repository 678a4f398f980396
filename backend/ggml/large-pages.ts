/**
 * Memory that is read again and again, laid out in large pages: in the background, once a program has computed for a while, since
 * it takes about a second a gigabyte and opening a model must not wait for it. Knows addresses, no tensors.
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

/** Who has computed for so long will compute for as long again. */
const patience = 2000;
const pageBytes = 1 << 21;
/** Laid out in one go: what ends or frees meanwhile waits for no more. */
const stepBytes = 8 * pageBytes;

/** `collapse` lays out whole pages from an address that is a multiple of theirs. */
export function newLargePages(collapse: (from: bigint, bytes: number) => Promise<void>): LargePages {
  const waiting = new Set<Memory>();
  let computed = 0;
  let isAtWork = false;

  const work = async (): Promise<void> => {
    for (const memory of waiting) {
      const offset = Number(BigInt.asUintN(64, -memory.from) % BigInt(pageBytes));
      const end = memory.used - ((memory.used - offset) % pageBytes);
      for (let at = offset; at < end; at += stepBytes) {
        if (!waiting.has(memory)) break;
        await collapse(memory.from + BigInt(at), Math.min(stepBytes, end - at));
      }
      waiting.delete(memory);
    }
  };
  return {
    add: (memory) => void waiting.add(memory),
    remove: (memory) => void waiting.delete(memory),
    computed(milliseconds) {
      computed += milliseconds;
      if (isAtWork || computed < patience || waiting.size === 0) return;
      isAtWork = true;
      void work().finally(() => (isAtWork = false));
    },
  };
}
