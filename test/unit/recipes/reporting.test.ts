import { describe, expect, it } from 'vitest';
import { counting, reporting } from '../../../backend/recipes/reporting.ts';
import { frequentTokens } from '../../../backend/recipes/text.ts';
import type { Windows } from '../../../backend/features/features.ts';

async function drain<E, T>(steps: AsyncGenerator<E, T>): Promise<{ events: E[]; value: T }> {
  const events: E[] = [];
  for (;;) {
    const next = await steps.next();
    if (next.done) return { events, value: next.value };
    events.push(next.value);
  }
}
const pause = (): Promise<void> => new Promise((resolve) => void setTimeout(resolve, 1));

describe('reporting', () => {
  it('yields what a task reports, its last word always, and returns its result', async () => {
    const { events, value } = await drain(
      reporting('tokenize', 'documents', async (report) => {
        for (let i = 1; i <= 50; i++) {
          report(i, 50);
          if (i % 10 === 0) await pause();
        }
        return 'done';
      }),
    );
    expect(value).toBe('done');
    expect(events.at(-1)).toEqual({ type: 'progress', phase: 'tokenize', done: 50, total: 50, unit: 'documents' });
    // Faster than anybody reads: most are left out.
    expect(events.length).toBeLessThan(10);
  });

  it('throws what the task throws', async () => {
    const failing = reporting('tokenize', 'documents', async () => {
      await pause();
      throw new Error('no');
    });
    await expect(drain(failing)).rejects.toThrow('no');
  });
});

describe('counting', () => {
  async function* steps(closed: string[]) {
    try {
      for (let done = 1; done <= 3; done++) yield { done, total: 3 };
      return 'result';
    } finally {
      closed.push('closed');
    }
  }

  it('passes on how far a generator is', async () => {
    const { events, value } = await drain(counting('evaluate', 'batches', steps([]), new AbortController().signal));
    expect(value).toBe('result');
    expect(events.map(({ done }) => done)).toEqual([1, 2, 3]);
  });

  it('closes the generator and throws the reason when aborted', async () => {
    const closed: string[] = [];
    const abort = new AbortController();
    const counted = counting('evaluate', 'batches', steps(closed), abort.signal);
    await counted.next();
    abort.abort(new Error('stop'));
    await expect(counted.next()).rejects.toThrow('stop');
    expect(closed).toEqual(['closed']);
  });
});

describe('frequentTokens', () => {
  const targets = [
    [2, 2, 2, 2, 5],
    [0, 3, -1, 3, 3],
    [0, 3, 2, -1, -1],
    [0, 0, 0, 0, 0],
  ];
  const windows: Windows = {
    count: 4,
    tokens: 5,
    hash: '',
    window: (w) => ({ ids: new Int32Array(5), targets: Int32Array.from(targets[w]!) }),
  };

  const never = new AbortController().signal;

  it('lists what most windows have, ties and unseen tokens by id', async () => {
    expect(await frequentTokens(windows, 6, 5, never)).toEqual([0, 2, 3, 5, 1]);
    expect(await frequentTokens(windows, 6, 2, never)).toEqual([0, 2]);
  });

  it('lists what asks for answers, too, though it is no target', async () => {
    const chat = { ids: Int32Array.from([9, 7, 7, 4, 3]), targets: Int32Array.from([-1, -1, -1, 3, 5]) };
    expect(await frequentTokens({ ...windows, count: 1, window: () => chat }, 10, 4, never)).toEqual([3, 4, 5, 7]);
  });

  it('is no list where it would hold everything', async () =>
    expect(await frequentTokens(windows, 6, 6, never)).toBeNull());

  it('stops while it counts, once it is cancelled', async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error('stop')), 20);
    let read = 0;
    const endless: Windows = { ...windows, count: 2 ** 40, window: () => (read++, windows.window(0)) };
    await expect(frequentTokens(endless, 6, 2, controller.signal)).rejects.toThrow('stop');
    expect(read).toBeGreaterThan(0);
  });
});
