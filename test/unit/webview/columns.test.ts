import { describe, expect, it } from 'vitest';
import { addPoints, exitsOf, indexAt, lastValue, nearestIndex, noPoints, stepsOf } from '../../../webview/columns.ts';
import { smooth, smoothGrowing, thin } from '../../../webview/smoothing.ts';

const none = { steps: [], values: {} };

describe('points of a run', () => {
  it('grow, fill gaps, and forget what a resumed run repeats', () => {
    const points = noPoints();
    const message = { type: 'points', run: 'r', gaps: none, agreement: none } as const;
    addPoints(points, { ...message, training: { steps: [1, 2], values: { '3:mlp': [5, 4] } }, heldOut: none });
    addPoints(points, { ...message, training: none, heldOut: { steps: [2], values: { '3:mlp': [4.5], final: [2] } } });
    addPoints(points, {
      ...message,
      training: { steps: [3, 4], values: { '3:mlp': [3, 2], '12:lens': [1, null] } },
      heldOut: { steps: [4], values: { '3:mlp': [3.5], final: [2] } },
    });
    expect(points.training).toEqual({
      steps: [1, 2, 3, 4],
      values: { '3:mlp': [5, 4, 3, 2], '12:lens': [null, null, 1, null] },
    });
    expect(points.heldOut.steps).toEqual([2, 4]);
    addPoints(points, { ...message, training: { steps: [3], values: { '3:mlp': [9] } }, heldOut: none });
    expect(points.training).toEqual({
      steps: [1, 2, 3],
      values: { '3:mlp': [5, 4, 9], '12:lens': [null, null, null] },
    });
    expect(points.heldOut).toEqual({ steps: [2], values: { '3:mlp': [4.5], final: [2] } });
    expect(exitsOf(points)).toEqual(['3:mlp', '12:lens']);
    expect(lastValue(points.training.values['12:lens'])).toBeNull();
    expect(lastValue(points.heldOut.values.final)).toBe(2);
  });

  it('are found by their step', () => {
    expect([0, 1, 5, 10, 99].map((step) => indexAt([1, 5, 10], step))).toEqual([-1, 0, 1, 2, 2]);
    expect([0, 2, 3, 4, 99].map((step) => nearestIndex([1, 5, 10], step))).toEqual([0, 0, 0, 1, 2]);
    expect(nearestIndex([], 3)).toBe(-1);
  });
});

describe('smoothing', () => {
  it('is the weighted mean of what came before, without the bias of the start', () => {
    expect(smooth([4, 2, null, 0], 0.5)).toEqual([
      4,
      (4 * 0.25 + 2 * 0.5) / 0.75,
      null,
      (4 * 0.125 + 2 * 0.25) / 0.875,
    ]);
    expect(smooth([1, 5], 0)).toEqual([1, 5]);
    for (const value of smooth([3, 3, 3], 0.99)) expect(value).toBeCloseTo(3, 12);
  });
});

describe('smoothing of a growing column', () => {
  it('is the same as of the whole, however it grew, and starts over with another β or another column', () => {
    const column: (number | null)[] = [];
    for (let i = 0; i < 50; i++) {
      column.push(i % 7 === 3 ? null : Math.sin(i));
      expect(smoothGrowing(column, 0.9)).toEqual(smooth(column, 0.9));
    }
    expect(smoothGrowing(column, 0.5)).toEqual(smooth(column, 0.5));
    const shorter = column.slice(0, 10);
    expect(smoothGrowing(shorter, 0.5)).toEqual(smooth(shorter, 0.5));
  });
});

describe('thinning', () => {
  it('keeps ends, peaks and valleys of every column', () => {
    const wave = Array.from({ length: 100_000 }, (_, i) => Math.sin(i / 1000) + (i === 54_321 ? 10 : 0));
    const other = wave.map((_, i) => (i === 12_345 ? -10 : null));
    const kept = thin([wave, other], 0, wave.length, 800);
    expect(kept.length).toBeLessThan(2000);
    expect(kept).toContain(54_321);
    expect(kept).toContain(12_345);
    expect([kept[0], kept.at(-1)]).toEqual([0, 99_999]);
    expect(kept).toEqual([...kept].sort((a, b) => a - b));
  });

  it('keeps all where there are few, of the stretch asked for', () => {
    expect(thin([[1, 2, 3, 4]], 1, 3, 10)).toEqual([1, 2]);
    expect(thin([[]], 0, 0, 10)).toEqual([]);
  });
});

it('before the first update the steps of evaluations can be read', () => {
  const points = { ...noPoints(), heldOut: { steps: [0], values: { final: [2] } } };
  expect(stepsOf(points)).toEqual([0]);
  expect(stepsOf({ ...points, training: { steps: [1, 2], values: {} } })).toEqual([1, 2]);
});
