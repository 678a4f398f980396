import { expect, test } from 'vitest';
import { parseOptions } from '../../../../protocol/options/options.ts';
import { continuedText, measuredText } from '../../../../backend/recipes/calibrating/measured-text.ts';

const tuning = { splitSeed: 7, heldOutFraction: 0.2 };
const measured = (given: Record<string, unknown>, of: Record<string, unknown> = tuning) =>
  measuredText(parseOptions('calibrate', given), of);

test('exits are measured on what their run kept apart', () => {
  expect(measured({})).toMatchObject({ text: { splitSeed: 7, heldOutFraction: 0.2 }, part: 'heldOut', warnings: [] });
  expect(measured({}, {})).toMatchObject({ text: { splitSeed: 1, heldOutFraction: 0.05 }, warnings: [] });
  expect(measured({ documents: 'all' })).toMatchObject({ text: { heldOutFraction: 0 }, part: 'train', warnings: [] });
});

test('what is given wins, and it is said where it takes text that they learned from', () => {
  const { text, warnings } = measured({ splitSeed: 1, heldOutFraction: 0.3 });
  expect(text).toMatchObject({ splitSeed: 1, heldOutFraction: 0.3 });
  expect(warnings).toEqual([
    'The exits were tuned with --split-seed 7: with 1, they are measured on text that they learned from, unless it is other text. Leave --split-seed out.',
    'The exits were tuned with --held-out-fraction 0.2: with 0.3, they are measured on text that they learned from, unless it is other text. Leave --held-out-fraction out.',
  ]);
  expect(measured({ heldOutFraction: 0.1 }).warnings).toEqual([]);
  expect(measured({ splitSeed: 1 }, {}).warnings).toEqual([]);
});

test('a run that begins with exits says how to keep apart what they did not learn', () => {
  const continued = (given: Record<string, unknown>) => continuedText(parseOptions('tune', given), tuning);
  expect(continued({ splitSeed: 7 })).toEqual([]);
  expect(continued({})).toEqual([
    'The exits were tuned with --split-seed 7: with 1, they are measured on text that they learned from, unless it is other text. Give --split-seed 7.',
  ]);
});

test('the seed of a run has no part in what is held out, but for runs of before there was another', () => {
  expect(measured({}, { seed: 7, splitSeed: 1 }).text.splitSeed).toBe(1);
  expect(measured({}, { seed: 7 }).text.splitSeed).toBe(7);
  expect(parseOptions('tune', { seed: 7 }).splitSeed).toBe(parseOptions('tune', {}).splitSeed);
});
