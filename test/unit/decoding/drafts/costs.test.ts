/** Costs of stages and readings: of two measurements each is taken from where it was smaller. */
import { expect, test } from 'vitest';
import { quieter, type MeasuredCosts } from '../../../../backend/decoding/drafts/costs.ts';

test('what held one measurement up is no cost', () => {
  const quiet: MeasuredCosts = {
    stages: [5, 3],
    deferred: [4, 2],
    ofPrompt: 2,
    readings: [0.5, 2],
    fills: [0.1, null],
  };
  const stalled: MeasuredCosts = { ...quiet, stages: [11, 3], readings: [4, 1.9], fills: [0.3, null] };
  const expected = { ...quiet, readings: [0.5, 1.9] };
  expect(quieter(quiet, stalled)).toEqual(expected);
  expect(quieter(stalled, quiet)).toEqual(expected);
});
