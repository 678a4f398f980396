import { expect, test } from 'vitest';
import { giveWay } from '../../../backend/runtime/give-way.ts';

test('messages have a turn within long work, and cost none within short work', async () => {
  let turns = 0;
  const count = (): void => {
    turns++;
    next = setImmediate(count);
  };
  let next = setImmediate(count);
  const work = async (milliseconds: number): Promise<number> => {
    const before = turns;
    for (const end = performance.now() + milliseconds; performance.now() < end;) await giveWay();
    return turns - before;
  };
  try {
    await giveWay();
    expect(await work(1)).toBeLessThanOrEqual(1);
    const during = await work(100);
    expect(during).toBeGreaterThan(1);
    expect(during).toBeLessThanOrEqual(20);
  } finally {
    clearImmediate(next);
  }
});
