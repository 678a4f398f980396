/** Who stops a run is not kept waiting by what never answers. */
import { expect, it } from 'vitest';
import { followJob, type RunningJob } from '../../../../backend/cluster/follow.ts';
import { untilLate } from '../../../../backend/recipes/training/deadline.ts';

const never = new Promise<never>(() => {});
const all = async <T>(events: AsyncGenerator<T, unknown>): Promise<T[]> => {
  const list: T[] = [];
  for await (const event of events) list.push(event);
  return list;
};

it('passes events and the result on', async () => {
  const source = async function* (): AsyncGenerator<number, string> {
    yield 1;
    yield 2;
    return 'end';
  };
  const events = untilLate(source(), new AbortController().signal, 10);
  expect([await events.next(), await events.next(), await events.next()]).toEqual([
    { done: false, value: 1 },
    { done: false, value: 2 },
    { done: true, value: 'end' },
  ]);
});

it('gives a source its time once the signal is aborted, and no more', async () => {
  const source = async function* (): AsyncGenerator<number> {
    yield 1;
    await new Promise((resolve) => setTimeout(resolve, 50));
    yield 2;
    await never;
  };
  const controller = new AbortController();
  const events = untilLate(source(), controller.signal, 200);
  await events.next();
  controller.abort();
  expect(await events.next()).toEqual({ done: false, value: 2 });
  const began = performance.now();
  await expect(events.next()).rejects.toBe(controller.signal.reason);
  expect(performance.now() - began).toBeLessThan(1_000);
});

it('ends its source if its reader stops', async () => {
  let closed = false;
  const source = async function* (): AsyncGenerator<number> {
    try {
      for (;;) yield 1;
    } finally {
      closed = true;
    }
  };
  for await (const event of untilLate(source(), new AbortController().signal, 10)) if (event === 1) break;
  expect(closed).toBe(true);
});

it('asks a job to stop at once, and leaves it alone that does not answer', async () => {
  const silent: RunningJob = {
    lines: async () => '',
    ended: () => never,
    hasState: () => false,
  };
  const controller = new AbortController();
  let steps = 0;
  const stop = async (): Promise<void> => {
    steps++;
    await never;
  };
  const following = all(untilLate(followJob(silent, controller.signal, stop), controller.signal, 100));
  await new Promise((resolve) => setTimeout(resolve, 20));
  controller.abort();
  expect(steps).toBe(1);
  await expect(following).rejects.toBe(controller.signal.reason);
});
