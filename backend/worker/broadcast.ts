/** One source, any number of readers: each gets every item from when it began to read, and then the end or the error. */

export interface Broadcast<T> {
  push(item: T): void;
  /** The end; with an error, readers throw it. Later calls do nothing. */
  end(error: Error | null): void;
  read(): AsyncGenerator<T, void>;
  readonly ended: Promise<void>;
}

interface Reader<T> {
  readonly items: T[];
  wake: () => void;
}

export function broadcast<T>(): Broadcast<T> {
  const readers = new Set<Reader<T>>();
  let outcome: { readonly error: Error | null } | null = null;
  let settle: (error: Error | null) => void = () => {};
  const ended = new Promise<void>((resolve, reject) => {
    settle = (error) => (error ? reject(error) : resolve());
  });
  ended.catch(() => {}); // A job that is not awaited fails for its readers, not for the process.

  async function* drain(reader: Reader<T>): AsyncGenerator<T, void> {
    try {
      for (;;) {
        while (reader.items.length > 0) yield reader.items.shift()!;
        if (outcome) break;
        await new Promise<void>((resolve) => (reader.wake = resolve));
      }
      if (outcome.error) throw outcome.error;
    } finally {
      readers.delete(reader);
    }
  }

  return {
    push(item) {
      for (const reader of readers) {
        reader.items.push(item);
        reader.wake();
      }
    },
    end(error) {
      if (outcome) return;
      outcome = { error };
      settle(error);
      for (const reader of readers) reader.wake();
    },
    read() {
      const reader: Reader<T> = { items: [], wake: () => {} };
      readers.add(reader);
      return drain(reader);
    },
    ended,
  };
}
