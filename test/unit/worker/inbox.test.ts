/** What is said to a job is heard, whenever it listens. */
import { expect, it } from 'vitest';
import { openInbox } from '../../../backend/worker/inbox.ts';

const settles = async (wait: Promise<void>): Promise<boolean> => {
  let isOver = false;
  void wait.then(() => (isOver = true));
  for (let i = 0; i < 5; i++) await Promise.resolve();
  return isOver;
};

it('gives messages in their order, once', () => {
  const inbox = openInbox<number>();
  inbox.push(1);
  inbox.push(2);
  expect(inbox.take()).toEqual([1, 2]);
  expect(inbox.take()).toEqual([]);
});

it('ends a wait by a message or a call, also by one that came before it', async () => {
  const inbox = openInbox<number>();
  const early = inbox.wait();
  expect(await settles(early)).toBe(false);
  inbox.push(1);
  expect(await settles(early)).toBe(true);
  // A job is cancelled while it computes, and waits only then.
  inbox.wake();
  expect(await settles(inbox.wait())).toBe(true);
  expect(await settles(inbox.wait())).toBe(false);
});
