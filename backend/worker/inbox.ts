/** Messages to a running job, kept until it reads them. */
import type { Inbox } from '../../protocol/jobs.ts';

export interface OpenInbox<Message> extends Inbox<Message> {
  push(message: Message): void;
}

export function openInbox<Message>(): OpenInbox<Message> {
  let messages: Message[] = [];
  /** Woken while nothing waited: the next wait returns at once. */
  let isAwake = false;
  let waiting: (() => void) | null = null;
  const wake = (): void => {
    if (waiting === null) isAwake = true;
    else waiting();
    waiting = null;
  };
  return {
    push(message) {
      messages.push(message);
      wake();
    },
    take() {
      const taken = messages;
      messages = [];
      return taken;
    },
    wait() {
      if (!isAwake) return new Promise((resolve) => (waiting = resolve));
      isAwake = false;
      return Promise.resolve();
    },
    wake,
  };
}
