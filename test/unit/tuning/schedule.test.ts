import { describe, expect, test } from 'vitest';
import {
  exitWeightsAt,
  learningRateAt,
  learningRateOf,
  type LearningRateOptions,
} from '../../../backend/tuning/schedule.ts';

const options = (schedule: LearningRateOptions['schedule'], warmupFraction = 0): LearningRateOptions => ({
  learningRate: 1,
  finalLearningRate: 0.2,
  schedule,
  warmupFraction,
});
const rates = (of: LearningRateOptions, updates: number): number[] =>
  Array.from({ length: updates }, (_, update) => Number(learningRateAt(of, update, updates).toFixed(4)));

describe('the learning rate', () => {
  test('falls on a straight line to the final rate', () => {
    expect(rates(options('linear'), 5)).toEqual([1, 0.8, 0.6, 0.4, 0.2]);
  });
  test('falls on half a cosine', () => {
    expect(rates(options('cosine'), 5)).toEqual([1, 0.8828, 0.6, 0.3172, 0.2]);
  });
  test('does not rise again where it is below the final rate already', () => {
    expect(rates({ ...options('cosine'), learningRate: 0.1 }, 4)).toEqual([0.1, 0.1, 0.1, 0.1]);
  });
  test('is the given one, or falls with the width of the model', () => {
    expect(learningRateOf({ learningRate: 1e-3 }, { hidden: 576 })).toBe(1e-3);
    const usual = [256, 576, 896, 1536].map((hidden) => learningRateOf({ learningRate: null }, { hidden }));
    expect(usual.map((rate) => Number(rate.toPrecision(2)))).toEqual([5e-4, 3.1e-4, 2e-4, 1.2e-4]);
  });
  test('stays', () => {
    expect(rates(options('constant'), 3)).toEqual([1, 1, 1]);
  });
  test('rises first, and never from zero', () => {
    expect(rates(options('linear', 0.4), 10)).toEqual([0.25, 0.5, 0.75, 1, 1, 0.84, 0.68, 0.52, 0.36, 0.2]);
  });
  test('of a single update is the full one', () => {
    expect(rates(options('cosine', 0.01), 1)).toEqual([1]);
  });
});

describe("the exits' weights", () => {
  test('are one for all, or one each', () => {
    expect(exitWeightsAt({ kind: 'static', weights: [0.5] }, 3, 4, 10)).toEqual([0.5, 0.5, 0.5]);
    expect(exitWeightsAt({ kind: 'static', weights: [0.5, 1] }, 2, 4, 10)).toEqual([0.5, 1]);
  });
  test('ramp over the run', () => {
    const linear = { kind: 'ramp', from: [0, 1], to: [1, 0.5], shape: 'linear' } as const;
    expect([0, 2, 4].map((update) => exitWeightsAt(linear, 2, update, 5))).toEqual([
      [0, 1],
      [0.5, 0.75],
      [1, 0.5],
    ]);
    const cosine = { kind: 'ramp', from: [0], to: [1], shape: 'cosine' } as const;
    expect(exitWeightsAt(cosine, 1, 1, 5)[0]).toBeCloseTo((1 - Math.cos(Math.PI / 4)) / 2, 10);
  });
});
