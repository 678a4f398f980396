/** The sampler against distributions worked out by hand. */
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../backend/decoding/random.ts';
import { argmax, distribution, greedy, sample } from '../../../backend/decoding/sampler.ts';

const logits = Float32Array.from([0, 1, 2, 3, -Infinity], (l) => l);
const softmax = (values: number[]): number[] => {
  const weights = values.map((v) => Math.exp(v));
  const total = weights.reduce((a, b) => a + b);
  return weights.map((w) => w / total);
};
const plain = { temperature: 1, topK: 0, topP: 1, minP: 0 };

describe('distribution', () => {
  test('is the softmax, most probable first, without impossible tokens', () => {
    const { ids, probabilities } = distribution(logits, plain);
    expect([...ids]).toEqual([3, 2, 1, 0]);
    for (const [i, p] of softmax([3, 2, 1, 0]).entries()) expect(probabilities[i]).toBeCloseTo(p, 12);
  });
  test('temperature divides the logits', () => {
    const { probabilities } = distribution(logits, { ...plain, temperature: 0.5 });
    for (const [i, p] of softmax([6, 4, 2, 0]).entries()) expect(probabilities[i]).toBeCloseTo(p, 12);
  });
  test('top-k keeps k, the first of equals', () => {
    expect([...distribution(Float32Array.of(1, 5, 5, 5), { ...plain, topK: 2 }).ids]).toEqual([1, 2]);
  });
  test('top-p keeps the fewest that reach the share', () => {
    const [p3] = softmax([3, 2, 1, 0]);
    expect([...distribution(logits, { ...plain, topP: p3! - 0.01 }).ids]).toEqual([3]);
    expect([...distribution(logits, { ...plain, topP: p3! + 0.01 }).ids]).toEqual([3, 2]);
  });
  test('min-p drops what is much less probable than the first', () => {
    expect([...distribution(logits, { ...plain, minP: Math.exp(-1.5) }).ids]).toEqual([3, 2]);
  });
});

test('greedy takes the first of equals and no random number', () => {
  expect(sample(Float32Array.of(1, 7, 7), greedy, new Set(), () => expect.unreachable())).toBe(1);
  expect(argmax([3, 9, 9])).toBe(1);
});

test('the repetition penalty lowers what was said, whatever its sign', () => {
  const options = { ...greedy, repetitionPenalty: 2 };
  expect(sample(Float32Array.of(3, 2), options, new Set([0]), Math.random)).toBe(1);
  expect(sample(Float32Array.of(-1, -1.5), options, new Set([0]), Math.random)).toBe(1);
});

test('draws follow the distribution (chi-square, 3 degrees of freedom)', () => {
  const random = seededRandom(11);
  const counts = [0, 0, 0, 0];
  const draws = 20_000;
  for (let i = 0; i < draws; i++) counts[sample(logits, { ...plain, repetitionPenalty: 1 }, new Set(), random)]!++;
  const expected = softmax([0, 1, 2, 3]);
  const chi = counts.reduce((sum, count, i) => sum + (count - draws * expected[i]!) ** 2 / (draws * expected[i]!), 0);
  expect(chi).toBeLessThan(16.27); // p = 0.001
});
