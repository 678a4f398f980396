/** Events of one request wait here for its reader, or the reader waits for them. */
export interface Mailbox<Event> {
  put(event: Event): void;
  /** The reader gets this error next, even if events wait. */
  fail(error: Error): void;
  /** The reader waits for no more events. */
  close(): void;
  /** The next event; null if it is closed and empty. @throws the error with which it failed. */
  next(): Promise<Event | null>;
}

export function newMailbox<Event>(): Mailbox<Event> {
  const events: Event[] = [];
  let failure: Error | null = null;
  let isClosed = false;
  let wake: () => void = () => undefined;
  return {
    put(event) {
      events.push(event);
      wake();
    },
    fail(error) {
      failure = error;
      wake();
    },
    close() {
      isClosed = true;
      wake();
    },
    async next() {
      for (;;) {
        if (failure !== null) throw failure;
        const event = events.shift();
        if (event !== undefined) return event;
        if (isClosed) return null;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}
