import { expect, it } from 'vitest';
import { calibrationError, reliabilityOf } from '../../../backend/evaluation/reliability.ts';

it('confidences stand in bins beside how often the exit was right; where it deferred, nothing counts', () => {
  const record = {
    confidence: Float32Array.of(0.5, 0.75, 0.75, 1, 0.25),
    token: Int32Array.of(1, 2, 3, 4, 5),
    deferred: Uint8Array.of(0, 0, 0, 0, 1),
  };
  const bins = reliabilityOf(record, { token: Int32Array.of(1, 2, 9, 4, 5) });
  expect(bins).toEqual([
    { tokens: 1, confidence: 0.5, agreement: 1 },
    { tokens: 2, confidence: 0.75, agreement: 0.5 },
    { tokens: 1, confidence: 1, agreement: 1 },
  ]);
  // (1 · 0.5 + 2 · 0.25 + 0) ÷ 4
  expect(calibrationError(bins)).toBe(0.25);
  expect(calibrationError([])).toBe(0);
});
