import { expect, test } from 'vitest';
import { measureSpeeds, measureTokens, tooShort } from '../../../backend/recipes/tune-plan.ts';
import type { FeatureSource } from '../../../backend/features/features.ts';
import type { ExitScorer } from '../../../backend/runtime/open.ts';
import { cutName, finalCut } from '../../../backend/model/spec.ts';
import { openModel } from '../../../backend/model/open.ts';
import { planMinutes } from '../../../backend/tuning/plan.ts';

test('what opens a thing is not timed with what it costs from then on', async () => {
  const model = openModel('models/typescript-5m');
  const { spec } = model;
  model.close();
  let clock = 0;
  /** A second to begin with, and a tenth from then on. */
  const slowAtFirst = <T>(value: T): (() => Promise<T>) => {
    let seconds = 1;
    return () => {
      clock += seconds;
      seconds = 0.1;
      return Promise.resolve(value);
    };
  };
  const tokens = 512;
  const features = new Map([[cutName(finalCut(spec)), new Float32Array(tokens * spec.hidden)]]);
  const source = { windows: { count: 8, tokens }, batch: slowAtFirst({ features }) } as unknown as FeatureSource;
  const scorer = { score: slowAtFirst({}) } as unknown as ExitScorer;
  const measured = await measureTokens(slowAtFirst(undefined), slowAtFirst(scorer), spec, 0.5, () => clock);
  // The backbone's first step and the scorer are opened.
  expect(measured.times.opening).toBeCloseTo(0.9 + 1, 6);
  expect(measured.times.fullPass).toBeCloseTo(0.1 + 0.1, 6);
  expect(measured.times.aToken).toBeCloseTo((0.1 + 1.5 * 0.1) / 16, 6);
  const speeds = await measureSpeeds(source, spec, measured, 1, () => clock);
  expect(speeds.window).toBeCloseTo(0.1, 6);
  expect(speeds.scoring).toBeCloseTo(0.4, 6);
});

test('one sentence says what the minutes of a run have no room for, and how many would have', () => {
  const speeds = { spent: 10, window: 5, scorerOpening: 1, scoring: 1 };
  const request = {
    tokens: 512,
    evaluationTokens: 8192,
    heldOutWindows: 16,
    windows: 100,
    fitTokens: 80_000,
    perUpdate: 2,
    distils: true,
    headShare: 0.5,
    calibration: 20,
  };
  const adviceFor = (minutes: number, fit = true): string | null => {
    const plan = planMinutes(speeds, { ...request, seconds: 60 * minutes, ...(fit ? {} : { fitTokens: null }) });
    return tooShort('m.gguf', plan, minutes);
  };
  expect(adviceFor(0.3)).toMatch(
    /^0\.3 minutes are too few here for a fit, 10 updates and a calibration of m\.gguf's exits; about (\d+) suffice \(--minutes \1\)\.$/,
  );
  expect(adviceFor(1)).toMatch(/^A minute is too few here for 10 updates and a calibration of m\.gguf's exits; about /);
  expect(adviceFor(1, false)).toMatch(/^A minute is too few here for 10 updates/);
  for (const fit of [true, false]) {
    const enough = Number(/--minutes (\d+)/.exec(adviceFor(0.5, fit)!)![1]);
    expect(adviceFor(enough, fit)).toBeNull();
  }
  expect(adviceFor(30)).toBeNull();
});
