import { expect, test } from 'vitest';
import { newStaging } from '../../../backend/ggml/staging.ts';

test('memory is taken again once it was released, and by one at a time', () => {
  const staging = newStaging();
  const [first, second] = [staging.open(), staging.open()];
  const [a, b, c] = [first.allocate(1000), first.allocate(20), second.allocate(1000)];
  expect([a, b, c].map(({ length }) => length)).toEqual([1000, 20, 1000]);
  expect(new Set([a, b, c].map(({ buffer }) => buffer)).size).toBe(3);
  first.release();
  const again = second.allocate(3000);
  expect([a.buffer, b.buffer]).toContain(again.buffer);
  expect(again).toHaveLength(3000);
});

test('a large matrix gets memory of its own, which then serves small ones', () => {
  const staging = newStaging();
  const large = staging.open();
  const memory = large.allocate((1 << 24) + 1);
  large.release();
  expect(staging.open().allocate(10).buffer).toBe(memory.buffer);
});

test('what is not taken is given back at once', () => {
  const staging = newStaging();
  const [done, busy] = [staging.open(), staging.open()];
  const [free, taken] = [done.allocate(100), busy.allocate(100)];
  done.release();
  staging.dispose();
  expect([free.buffer.byteLength === 0, taken.length]).toEqual([true, 100]);
});
