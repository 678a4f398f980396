/** Beginnings of the texts of a calibration. */
import { expect, test } from 'vitest';
import {
  alternating,
  mostNewTokens,
  newTokens,
  promptsOf,
  promptTokens,
  textLength,
} from '../../../../backend/evaluation/calibration/calibration-texts.ts';
import type { Windows } from '../../../../backend/features/features.ts';

/** Every id is its place in the text. */
const text = (count: number, tokens: number): Windows => ({
  count,
  tokens,
  hash: '',
  window: (index) => ({
    ids: Int32Array.from({ length: tokens }, (_, i) => index * tokens + i),
    targets: new Int32Array(tokens),
  }),
});

test('pieces lie apart from each other, and the first few are spread over all of the text', () => {
  const prompts = promptsOf(text(20, 512), 34, null, 128);
  expect(prompts).toHaveLength(34);
  expect(prompts.every((ids) => ids.length === 128)).toBe(true);
  const starts = prompts.map(([first]) => first!);
  const sorted = starts.toSorted((a, b) => a - b);
  expect(Math.min(...sorted.slice(1).map((start, i) => start - sorted[i]!))).toBeGreaterThanOrEqual(256);
  expect(Math.max(...starts.slice(0, 4)) - Math.min(...starts.slice(0, 4))).toBeGreaterThan((20 * 512) / 2);
});

test('of little text pieces are shorter, rather than fewer', () => {
  const prompts = promptsOf(text(4, 512), 16, null, 128);
  expect(prompts).toHaveLength(16);
  expect(prompts[0]).toHaveLength(64);
  expect(promptsOf(text(1, 512), 16, null, 128)[0]).toHaveLength(promptTokens);
});

test('texts are longer where prompts are too few for the promise', () => {
  expect(textLength(42, 2666)).toBeGreaterThan(newTokens);
  expect(42 * textLength(42, 2666)).toBeGreaterThan(2666);
  expect(textLength(100, 2666)).toBe(newTokens);
  expect(textLength(4, 2666)).toBe(mostNewTokens);
});

test('text that candidates are chosen from and text that judges them have no window in common', () => {
  const all = text(5, 512);
  const firsts = alternating(all).map((half) => Array.from({ length: half.count }, (_, i) => half.window(i).ids[0]!));
  expect(firsts.map(({ length }) => length)).toEqual([3, 2]);
  expect(firsts.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: 5 }, (_, i) => all.window(i).ids[0]!));
});

test('of chats pieces end where an answer begins or goes on', () => {
  const plain = text(6, 512);
  // Of each 100 tokens the first 60 ask, and the rest answers.
  const isAnswer = (place: number): boolean => place % 100 >= 60;
  const chats: Windows = {
    ...plain,
    window(index) {
      const { ids } = plain.window(index);
      return { ids, targets: ids.map((id) => (isAnswer(id + 1) ? id + 1 : -1)) };
    },
  };
  const next = promptsOf(chats, 12, null, 128).map((ids) => ids.at(-1)! + 1);
  expect(next.length).toBeGreaterThan(8);
  expect(next.every(isAnswer)).toBe(true);
  expect(next.some((place) => place % 100 > 60)).toBe(true);
});

test('no piece ends with a document or in what fills a window, and none is taken twice', () => {
  const end = -1;
  const written = text(6, 512);
  // Documents of 300 tokens at the front of each window, and nothing else.
  const filled: Windows = {
    ...written,
    window(index) {
      const { ids, targets } = written.window(index);
      return { ids: ids.map((id, i) => (i < 300 ? id : end)), targets };
    },
  };
  const prompts = promptsOf(filled, 12, end, 128);
  expect(prompts.length).toBeGreaterThan(5);
  expect(new Set(prompts.map((ids) => ids.at(-1))).size).toBe(prompts.length);
  for (const ids of prompts) {
    expect(ids).not.toContain(end);
    expect(ids.at(-1)! % 512).toBeLessThan(300);
  }
  // A piece may begin in the document before.
  const joined: Windows = {
    ...written,
    window: (index) => ({
      ...written.window(index),
      ids: written.window(index).ids.map((id) => (id % 64 === 20 ? end : id)),
    }),
  };
  const ends = promptsOf(joined, 12, end, 128).map((ids) => ids.length - 1 - ids.lastIndexOf(end));
  expect(ends.every((tokens) => tokens >= 32)).toBe(true);
});
