/** What a job is told while it runs, until it looks. */
import type { Inbox } from '../../protocol/jobs.ts';

export interface OpenInbox<Message> extends Inbox<Message> {
  push(message: Message): void;
}

export function openInbox<Message>(): OpenInbox<Message> {
  let messages: Message[] = [];
  let wake: () => void = () => undefined;
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
    wait: () => (messages.length > 0 ? Promise.resolve() : new Promise((resolve) => (wake = resolve))),
    wake: () => wake(),
  };
}
