import { describe, expect, it } from 'vitest';
import { counting, reporting } from '../../../backend/recipes/reporting.ts';
import { frequentTokens } from '../../../backend/recipes/text.ts';
import type { TokenSet } from '../../../backend/data/token-file.ts';

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
  const set = { countTargets: () => Float64Array.of(3, 0, 5, 3, 0, 1) } as unknown as TokenSet;

  it('lists the most frequent first, ties and unseen tokens by id', () => {
    expect(frequentTokens(set, 6, 5)).toEqual([2, 0, 3, 5, 1]);
    expect(frequentTokens(set, 6, 2)).toEqual([2, 0]);
  });

  it('is no list where it would hold everything', () => expect(frequentTokens(set, 6, 6)).toBeNull());
});
