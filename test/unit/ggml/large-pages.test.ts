import { expect, test } from 'vitest';
import { newLargePages } from '../../../backend/ggml/large-pages.ts';

const page = 1 << 21;
const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

test('whole pages of what is written are laid out once, when there was computing for a while', async () => {
  const laid: [bigint, number][] = [];
  const pages = newLargePages(async (from, bytes) => {
    laid.push([from, bytes]);
  });
  pages.add({ from: BigInt(10 * page - 64), used: 20 * page });
  pages.add({ from: BigInt(100 * page), used: page - 1 });
  pages.computed(1000);
  await settled();
  expect(laid).toEqual([]);
  pages.computed(1000);
  await settled();
  expect(laid).toEqual([
    [BigInt(10 * page), 8 * page],
    [BigInt(18 * page), 8 * page],
    [BigInt(26 * page), 3 * page],
  ]);
  pages.computed(5000);
  await settled();
  expect(laid).toHaveLength(3);
});

test('memory that is given back is let alone from then on', async () => {
  const freed = { from: 0n, used: 64 * page };
  let steps = 0;
  const pages = newLargePages(async () => {
    if (++steps === 2) pages.remove(freed);
  });
  pages.add(freed);
  pages.computed(3000);
  await settled();
  expect(steps).toBe(2);
});
