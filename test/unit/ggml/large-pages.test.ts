import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { newLargePages } from '../../../backend/ggml/large-pages.ts';

const page = 1 << 21;
const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterEach(() => void vi.useRealTimers());

/** Pages, and what was laid out of them: from, bytes. */
function recorded(then: (steps: number) => void = () => {}) {
  const laid: [bigint, number][] = [];
  const pages = newLargePages(async (from, bytes) => {
    laid.push([from, bytes]);
    then(laid.length);
  });
  return { pages, laid };
}

test('whole pages of what is written are laid out once, in the first pause', async () => {
  const { pages, laid } = recorded();
  pages.add({ from: BigInt(10 * page - 64), used: 20 * page });
  pages.add({ from: BigInt(100 * page), used: page - 1 });
  pages.computed(1);
  vi.advanceTimersByTime(200);
  pages.computed(1);
  vi.advanceTimersByTime(299);
  await settled();
  expect(laid).toEqual([]);
  vi.advanceTimersByTime(1);
  await settled();
  expect(laid).toEqual([
    [BigInt(10 * page), 8 * page],
    [BigInt(18 * page), 8 * page],
    [BigInt(26 * page), 3 * page],
  ]);
  pages.computed(5000);
  vi.advanceTimersByTime(300);
  await settled();
  expect(laid).toHaveLength(3);
});

test('a pause that ends leaves the rest to the next one', async () => {
  const { pages, laid } = recorded((steps) => {
    if (steps === 2) pages.computed(1);
  });
  pages.add({ from: 0n, used: 32 * page });
  pages.computed(1);
  vi.advanceTimersByTime(300);
  await settled();
  expect(laid.map(([from]) => from)).toEqual([0n, BigInt(8 * page)]);
  vi.advanceTimersByTime(300);
  await settled();
  expect(laid.map(([from]) => from)).toEqual([0, 8, 16, 24].map((n) => BigInt(n * page)));
});

test('without a pause, who computes ten times as long as it takes has waited enough', async () => {
  const { pages, laid } = recorded();
  pages.add({ from: 0n, used: 50 * page });
  for (let i = 0; i < 20; i++) pages.computed(100);
  await settled();
  expect(laid).toEqual([]);
  pages.computed(100);
  await settled();
  expect(laid).toHaveLength(7);
});

test('memory that is given back is let alone from then on', async () => {
  const freed = { from: 0n, used: 64 * page };
  const { pages, laid } = recorded((steps) => {
    if (steps === 2) pages.remove(freed);
  });
  pages.add(freed);
  pages.computed(1);
  vi.advanceTimersByTime(300);
  await settled();
  expect(laid).toHaveLength(2);
});

test('a model that is still being read is no pause, and what comes later into the same memory is laid out, too', async () => {
  const { pages, laid } = recorded();
  const memory = { from: 0n, used: 4 * page };
  pages.computed(1);
  pages.add(memory);
  for (let i = 0; i < 3; i++) {
    vi.advanceTimersByTime(200);
    pages.add(memory);
  }
  await settled();
  expect(laid).toEqual([]);
  vi.advanceTimersByTime(300);
  await settled();
  memory.used = 6 * page;
  pages.add(memory);
  vi.advanceTimersByTime(300);
  await settled();
  expect(laid).toEqual([
    [0n, 4 * page],
    [BigInt(4 * page), 2 * page],
  ]);
});
