/** The sampler against distributions worked out by hand. */
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../../backend/decoding/sampling/random.ts';
import {
  argmax,
  distribution,
  greedy,
  needsLogits,
  sample,
  type Distribution,
  type SeenTokens,
} from '../../../../backend/decoding/sampling/sampler.ts';

const logits = Float32Array.from([0, 1, 2, 3, -Infinity], (l) => l);
const softmax = (values: number[]): number[] => {
  const weights = values.map((v) => Math.exp(v));
  const total = weights.reduce((a, b) => a + b);
  return weights.map((w) => w / total);
};
/** Most probable first. */
const sorted = ({ ids, probabilities }: Distribution): { ids: number[]; probabilities: number[] } => {
  const order = [...ids.keys()].sort((a, b) => probabilities[b]! - probabilities[a]! || ids[a]! - ids[b]!);
  return { ids: order.map((i) => ids[i]!), probabilities: order.map((i) => probabilities[i]!) };
};
const of = (values: Float32Array, options: Parameters<typeof distribution>[1]) => sorted(distribution(values, options));
const seen = (all: number[], written: number[] = []): SeenTokens => ({
  all: new Set(all),
  written: new Map(written.map((id) => [id, written.filter((other) => other === id).length])),
});
const nothing = seen([]);
const plain = { temperature: 1, topK: 0, topP: 1, minP: 0 };

describe('distribution', () => {
  test('is the softmax, most probable first, without impossible tokens', () => {
    const { ids, probabilities } = of(logits, plain);
    expect([...ids]).toEqual([3, 2, 1, 0]);
    for (const [i, p] of softmax([3, 2, 1, 0]).entries()) expect(probabilities[i]).toBeCloseTo(p, 12);
  });
  test('temperature divides the logits', () => {
    const { probabilities } = of(logits, { ...plain, temperature: 0.5 });
    for (const [i, p] of softmax([6, 4, 2, 0]).entries()) expect(probabilities[i]).toBeCloseTo(p, 12);
  });
  test('top-k keeps k, the first of equals', () => {
    expect([...of(Float32Array.of(1, 5, 5, 5), { ...plain, topK: 2 }).ids]).toEqual([1, 2]);
  });
  test('top-p keeps the fewest that reach the share', () => {
    const [p3] = softmax([3, 2, 1, 0]);
    expect([...of(logits, { ...plain, topP: p3! - 0.01 }).ids]).toEqual([3]);
    expect([...of(logits, { ...plain, topP: p3! + 0.01 }).ids]).toEqual([3, 2]);
  });
  test('min-p drops what is much less probable than the first', () => {
    expect([...of(logits, { ...plain, minP: Math.exp(-1.5) }).ids]).toEqual([3, 2]);
  });
});

test('every filter on a large vocabulary keeps what sorting all of it keeps', () => {
  const random = seededRandom(4);
  const values = Float32Array.from({ length: 5000 }, () => 12 * random() ** 3);
  const order = [...values.keys()].sort((a, b) => values[b]! - values[a]! || a - b);
  const weights = order.map((id) => Math.exp(values[id]!));
  for (const topK of [0, 1, 7, 900]) {
    for (const topP of [0.1, 0.9, 1]) {
      const kept = topK ? order.slice(0, topK) : order;
      const total = kept.reduce((sum, _, i) => sum + weights[i]!, 0);
      let count = 0;
      for (let share = 0; count < kept.length && share < topP * total; count++) share += weights[count]!;
      const expected = topP < 1 ? kept.slice(0, count) : kept;
      expect(of(values, { temperature: 1, topK, topP, minP: 0 }).ids).toEqual(expected);
    }
  }
});

test('greedy takes the first of equals and no random number', () => {
  expect(sample(Float32Array.of(1, 7, 7), greedy, nothing, () => expect.unreachable())).toBe(1);
  expect(argmax([3, 9, 9])).toBe(1);
});

test('the repetition penalty lowers what was said, whatever its sign', () => {
  const options = { ...greedy, repetitionPenalty: 2 };
  expect(sample(Float32Array.of(3, 2), options, seen([0]), Math.random)).toBe(1);
  expect(sample(Float32Array.of(-1, -1.5), options, seen([0]), Math.random)).toBe(1);
});

test('presence counts once, frequency each time, of what the text itself has; a bias is added', () => {
  const row = Float32Array.of(3, 2.5, 1);
  const choose = (more: Parameters<typeof sample>[1], has: SeenTokens): number => sample(row, more, has, Math.random);
  expect(choose({ ...greedy, presencePenalty: 0.4 }, seen([0, 1], [0, 0]))).toBe(0);
  expect(choose({ ...greedy, presencePenalty: 0.6 }, seen([0, 1], [0, 0]))).toBe(1);
  expect(choose({ ...greedy, frequencyPenalty: 0.3 }, seen([0], [0, 0]))).toBe(1);
  // A prompt's tokens are not the text's.
  expect(choose({ ...greedy, presencePenalty: 2 }, seen([0]))).toBe(0);
  expect(choose({ ...greedy, bias: new Map([[2, 2.5], [9, 100]]) }, nothing)).toBe(2); // prettier-ignore
  expect(needsLogits(greedy)).toBe(false);
  expect(needsLogits({ ...greedy, bias: new Map([[2, 1]]) })).toBe(true);
  expect([...row]).toEqual([3, 2.5, 1]);
});

test('draws follow the distribution (chi-square, 3 degrees of freedom)', () => {
  const random = seededRandom(11);
  const counts = [0, 0, 0, 0];
  const draws = 20_000;
  for (let i = 0; i < draws; i++) counts[sample(logits, { ...plain, repetitionPenalty: 1 }, nothing, random)]!++;
  const expected = softmax([0, 1, 2, 3]);
  const chi = counts.reduce((sum, count, i) => sum + (count - draws * expected[i]!) ** 2 / (draws * expected[i]!), 0);
  expect(chi).toBeLessThan(16.27); // p = 0.001
});

test('a penalty that leaves no number, and a bias that forbids all tokens, still draw a token', () => {
  const options = { ...plain, repetitionPenalty: 1e-40 };
  expect(sample(logits, { ...options, topP: 0.9 }, seen([2]), seededRandom(1))).toBe(2);
  const nowhere = new Float32Array(5).fill(-Infinity);
  expect(sample(nowhere, { ...options, repetitionPenalty: 1 }, nothing, seededRandom(1))).toBe(0);
});
