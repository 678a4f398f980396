import { expect, it } from 'vitest';
import { inPercent, spreadText } from '../../../protocol/spread-text.ts';
import { pointsText } from '../../../protocol/tasks.ts';

it('points have a sign unless they are none', () => {
  expect([-0.012, -0.0004, 0, 0.0004, 0.034].map(pointsText)).toEqual(['−1.2', '0.0', '0.0', '0.0', '+3.4']);
});

it('a spread over one seed is its mean alone', () => {
  const spread = { mean: 0.546, deviation: 0.031 };
  expect(spreadText(spread, 3, 2)).toBe('0.546 ± 0.031');
  expect(spreadText(inPercent(spread), 1, 3)).toBe('54.6 ± 3.1');
  expect(spreadText(spread, 3, 1)).toBe('0.546');
});
