import { expect, it } from 'vitest';
import { betterModels, fetchMinutes, fitsMemory, recommendedFor } from '../../../protocol/models.ts';

const GB = 1e9;

it('a model fits where there is room for its weights, its texts and other programs', () => {
  expect(fitsMemory(4.7 * GB, 8 * GB)).toBe(false);
  expect(fitsMemory(4.7 * GB, 16 * GB)).toBe(true);
  expect(fitsMemory(0.5 * GB, 4 * GB)).toBe(true);
});

it('what is recommended fits, the fastest first, for completions and for chats; the smallest always', () => {
  for (const memory of [2, 8, 16, 64]) {
    const all = recommendedFor(memory * GB);
    for (const use of ['completions', 'chat']) {
      const sizes = all.filter((each) => each.use === use).map(({ bytes }) => bytes);
      expect(sizes.length).toBeGreaterThan(0);
      expect(sizes).toEqual([...sizes].sort((a, b) => a - b));
      if (sizes.length > 1) expect(fitsMemory(sizes.at(-1)!, memory * GB)).toBe(true);
    }
  }
  expect(recommendedFor(64 * GB).length).toBeGreaterThan(recommendedFor(4 * GB).length);
});

it('two better models than the one that ships are one for code and one for chats, with the minutes that they take to fetch', () => {
  const [code, chat] = betterModels();
  expect([code.use, chat.use]).toEqual(['completions', 'chat']);
  expect([code, chat].map(({ name }) => name)).toEqual(['Qwen2.5-Coder 0.5B', 'SmolLM2 135M']);
  expect([code, chat].map(({ bytes }) => fetchMinutes(bytes))).toEqual([1, 1]);
  expect(fetchMinutes(4.68e9)).toBe(6);
});
