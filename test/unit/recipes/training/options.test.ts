import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CheckpointInfo } from '../../../../backend/checkpoint/checkpoint.ts';
import type { TrainingPosition } from '../../../../backend/checkpoint/state.ts';
import {
  lastDirectory,
  optionsText,
  resumedEnd,
  resumedOptions,
} from '../../../../backend/recipes/training/options.ts';
import type { RunLimits } from '../../../../backend/checkpoint/state.ts';
import { parseOptions, type TuneOptions } from '../../../../protocol/options/options.ts';
import { usualPromise } from '../../../../protocol/options/groups.ts';
import { promiseText } from '../../../../protocol/options/promise.ts';

const resumed = (run: Record<string, unknown>, now: Record<string, unknown>): TuneOptions => {
  const info = { tuning: optionsText(parseOptions('tune', run)) } as CheckpointInfo;
  return resumedOptions('my.exits', info, parseOptions('tune', { ...now, resume: true }));
};

it('goes on with the options of the run, and refuses others', () => {
  expect(resumed({ learningRate: 0.01, promise: 'agreement=0.9' }, {})).toMatchObject({
    learningRate: 0.01,
    promise: { measure: 'agreement', limit: 0.9 },
  });
  expect(() => resumed({ learningRate: 0.01 }, { learningRate: 0.02 })).toThrow(
    'The run in my.exits goes on with its own options: its --learning-rate is 0.01, not 0.02.',
  );
});

it('names the machine that it began on, and computes where each sitting says', () => {
  expect(optionsText(parseOptions('tune', { threads: 2, device: 'cpu' }))).toMatchObject({ threads: 2, device: 'cpu' });
  expect(resumed({ threads: 2, device: 'cpu' }, { threads: 1 })).toMatchObject({ threads: 1, device: 'auto' });
});

it('takes another promise for the calibration at its end', () => {
  const read = (given: Record<string, unknown>): Partial<TuneOptions> => {
    const { promise, certainty, calibrationTokens } = parseOptions('tune', given);
    return { promise, certainty, calibrationTokens };
  };
  const now = { promise: 'regret=0.02', certainty: 0.9, calibrationTokens: 1024 };
  expect(resumed({ promise: 'agreement=0.9' }, now)).toMatchObject(read(now));
  // One that is named stands, also where it is what is usual.
  const other = { promise: 'agreement=0.9', certainty: 0.9, calibrationTokens: 256 };
  const usual = {
    promise: promiseText(usualPromise.promise),
    certainty: usualPromise.certainty,
    calibrationTokens: 1024,
  };
  expect(resumed(other, usual)).toMatchObject(read(usual));
  expect(resumed(other, {})).toMatchObject(read(other));
});

it('goes on with the promise of a run of an earlier version', () => {
  const tuning = optionsText(parseOptions('tune', {}));
  delete tuning['promise'];
  const resumedOf = (agreement: number | null): TuneOptions =>
    resumedOptions(
      'my.exits',
      { tuning: { ...tuning, agreement } } as unknown as CheckpointInfo,
      parseOptions('tune', { resume: true }),
    );
  expect(resumedOf(0.9).promise).toEqual({ measure: 'agreement', limit: 0.9 });
  expect(resumedOf(null).promise).toBeNull();
});

it('adds minutes to those of before', () => {
  const run = parseOptions('tune', { minutes: 60 });
  const position = { step: 5, windows: 8, seconds: 100, finished: true } as TrainingPosition;
  const again = (given: Record<string, unknown>, finished = true): RunLimits =>
    resumedEnd(run, parseOptions('tune', { ...given, resume: true }), { ...position, finished }, 4);
  const none = { steps: null, epochs: null };
  expect(again({}, false)).toEqual({ ...none, seconds: 3600 });
  expect(again({})).toEqual({ ...none, seconds: 100 + 600 });
  expect(again({ preset: 'quick' })).toEqual({ ...none, seconds: 100 + 60 });
  expect(again({ minutes: 2 })).toEqual({ ...none, seconds: 100 + 120 });
  expect(again({ epochs: 1 })).toEqual({ steps: null, epochs: 3, seconds: null });
  // A sitting that was stopped before its further end goes on to that.
  const end = { ...none, seconds: 5000 };
  expect(resumedEnd(run, parseOptions('tune', {}), { ...position, finished: false, end }, 4)).toEqual(end);
});

describe('if no run to resume is named', () => {
  const before = process.cwd();
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'runs-'));
  beforeAll(() => process.chdir(root));
  afterAll(() => {
    process.chdir(before);
    fs.rmSync(root, { recursive: true });
  });

  it('is the one of the model that worked last, by the name that its folder has', () => {
    const saved = (file: string, at: number): void => {
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(file, '');
      fs.utimesSync(file, at, at);
    };
    saved('m-9.exits', 9);
    saved('m-8.exits/exits.json', 9);
    saved('other.exits/state/state.json', 9);
    expect(lastDirectory('m.gguf')).toBeNull();
    saved('m-3.exits/state/state.json', 1);
    saved('m-1.exits/state/state.json', 3);
    saved('m-2.exits/state/state.json', 2);
    expect(lastDirectory('m.gguf')).toBe('m-1.exits');
    // A job elsewhere that has saved nothing here yet.
    fs.mkdirSync('m-4.exits/distributed', { recursive: true });
    expect(lastDirectory('m.gguf')).toBe('m-4.exits');
    // Of any model: `tune --resume` alone.
    saved('named-by-out.exits/state/state.json', 9e9);
    expect(lastDirectory(null)).toBe('named-by-out.exits');
  });
});
