/**
 * Runs one request at a time, and equal requests once: a caller with the same request waits for the same answer. A request is cancelled
 * when its last caller has left, or when another request comes. Pure; knows no `vscode`.
 */

/** A request. `size` is its extent: a request also answers one with the same key and a smaller size. */
export interface SharedRequest<T> {
  readonly key: string;
  readonly size: number;
  /** The signal fires once no caller wants the answer any more; an answer that still comes is dropped. */
  readonly work: (given: AbortSignal) => Promise<T>;
}

export interface OneAtATime<T> {
  /** Null if `left` fires for the last caller, or if another request came. Rejects if the work does. */
  ask(request: SharedRequest<T>, left: AbortSignal): Promise<T | null>;
  /** Starts the request ahead if nothing else is in flight: a later caller with the same request finds it started. */
  ahead(request: SharedRequest<T>): Promise<T | null>;
  /** Gives up the request in flight: its callers get null. */
  stop(): void;
}

interface Running<T> {
  readonly key: string;
  readonly size: number;
  readonly given: AbortController;
  readonly answer: Promise<T | null>;
  waiting: number;
}

export function oneAtATime<T>(): OneAtATime<T> {
  let running: Running<T> | null = null;

  const start = ({ key, size, work }: SharedRequest<T>): Running<T> => {
    running?.given.abort();
    const given = new AbortController();
    const { signal } = given;
    const answer = work(signal)
      .then((value) => (signal.aborted ? null : value))
      .catch((error: unknown) => {
        if (signal.aborted) return null;
        throw error;
      })
      .finally(() => {
        if (running === now) running = null;
      });
    const now: Running<T> = { key, size, given, answer, waiting: 0 };
    running = now;
    return now;
  };

  /** What runs and answers this one, too; one that was given up has no callers. */
  const same = ({ key, size }: SharedRequest<T>): Running<T> | null =>
    running?.key === key && running.size >= size && !running.given.signal.aborted ? running : null;

  return {
    async ask(request, left) {
      if (left.aborted) return null;
      const joined = same(request) ?? start(request);
      joined.waiting++;
      const leave = (): void => {
        if (--joined.waiting === 0) joined.given.abort();
      };
      left.addEventListener('abort', leave, { once: true });
      try {
        const value = await joined.answer;
        return left.aborted ? null : value;
      } finally {
        left.removeEventListener('abort', leave);
      }
    },
    ahead(request) {
      const joined = same(request);
      if (joined) return joined.answer;
      return running === null || running.given.signal.aborted ? start(request).answer : Promise.resolve(null);
    },
    stop: () => running?.given.abort(),
  };
}
