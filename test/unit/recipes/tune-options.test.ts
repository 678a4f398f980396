import { expect, it } from 'vitest';
import type { CheckpointInfo } from '../../../backend/checkpoint/checkpoint.ts';
import { optionsText, resumedOptions } from '../../../backend/recipes/tune-options.ts';
import { parseOptions, type TuneOptions } from '../../../protocol/options.ts';
import { usualPromise } from '../../../protocol/options-groups.ts';

const resumed = (run: Record<string, unknown>, now: Record<string, unknown>): TuneOptions => {
  const info = { tuning: optionsText(parseOptions('tune', run)) } as CheckpointInfo;
  return resumedOptions('my.exits', info, parseOptions('tune', { ...now, resume: true }));
};

it('goes on with the options of the run, and refuses others', () => {
  expect(resumed({ learningRate: 0.01, agreement: 0.9 }, {})).toMatchObject({ learningRate: 0.01, agreement: 0.9 });
  expect(() => resumed({ learningRate: 0.01 }, { learningRate: 0.02 })).toThrow(
    'The run in my.exits goes on with its own options: its --learning-rate is 0.01, not 0.02.',
  );
});

it('takes another promise for the calibration at its end', () => {
  const now = { agreement: 0.8, certainty: 0.9, calibrationTokens: 1024 };
  expect(resumed({ agreement: 0.9 }, now)).toMatchObject(now);
  // One that is named stands, also where it is what is usual.
  const other = { agreement: 0.9, certainty: 0.9, calibrationTokens: 256 };
  expect(resumed(other, usualPromise)).toMatchObject(usualPromise);
  expect(resumed(other, {})).toMatchObject(other);
});
