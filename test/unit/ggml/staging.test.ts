import { expect, test } from 'vitest';
import { newStaging } from '../../../backend/ggml/staging.ts';

test('memory is taken again once it was released, and by one at a time', () => {
  const openStage = newStaging();
  const [first, second] = [openStage(), openStage()];
  const [a, b, c] = [first.allocate(1000), first.allocate(20), second.allocate(1000)];
  expect([a, b, c].map(({ length }) => length)).toEqual([1000, 20, 1000]);
  expect(new Set([a, b, c].map(({ buffer }) => buffer)).size).toBe(3);
  first.release();
  const again = second.allocate(3000);
  expect([a.buffer, b.buffer]).toContain(again.buffer);
  expect(again).toHaveLength(3000);
});

test('a large matrix gets memory of its own, which then serves small ones', () => {
  const openStage = newStaging();
  const large = openStage();
  const memory = large.allocate((1 << 24) + 1);
  large.release();
  expect(openStage().allocate(10).buffer).toBe(memory.buffer);
});
