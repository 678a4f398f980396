/** Events of one request: they wait for its reader, and it for them. */
export interface Mailbox<Event> {
  put(event: Event): void;
  /** The reader gets this error next, whatever is there. */
  fail(error: Error): void;
  /** Nothing more is waited for. */
  close(): void;
  /** Null once it is closed and empty. @throws the error with which it was closed. */
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
