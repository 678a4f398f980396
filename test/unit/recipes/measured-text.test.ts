import { expect, test } from 'vitest';
import { parseOptions } from '../../../protocol/options.ts';
import { measuredText } from '../../../backend/recipes/measured-text.ts';

const tuning = { seed: 7, heldOutFraction: 0.2 };
const measured = (given: Record<string, unknown>, of: Record<string, unknown> = tuning) =>
  measuredText(parseOptions('calibrate', given), of);

test('exits are measured on what their run kept apart', () => {
  expect(measured({})).toMatchObject({ text: { seed: 7, heldOutFraction: 0.2 }, part: 'heldOut', warnings: [] });
  expect(measured({}, {})).toMatchObject({ text: { seed: 1, heldOutFraction: 0.05 }, warnings: [] });
  expect(measured({ documents: 'all' })).toMatchObject({ text: { heldOutFraction: 0 }, part: 'train', warnings: [] });
});

test('what is given wins, and it is said where it takes text that they learned from', () => {
  const { text, warnings } = measured({ seed: 1, heldOutFraction: 0.3 });
  expect(text).toMatchObject({ seed: 1, heldOutFraction: 0.3 });
  expect(warnings).toEqual([
    'The exits were tuned with --seed 7: with 1, they are measured on text that they learned from, unless it is other text. Leave --seed out.',
    'The exits were tuned with --held-out-fraction 0.2: with 0.3, they are measured on text that they learned from, unless it is other text. Leave --held-out-fraction out.',
  ]);
  expect(measured({ heldOutFraction: 0.1 }).warnings).toEqual([]);
  expect(measured({ seed: 1 }, {}).warnings).toEqual([]);
});
