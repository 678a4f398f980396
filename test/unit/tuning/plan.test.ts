/** The plan of a run, from made-up speeds. */
import { describe, expect, test } from 'vitest';
import {
  calibrationSeconds,
  calibrationSecondsLeft,
  planMinutes,
  updateSeconds,
  type PlanRequest,
  type Speeds,
} from '../../../backend/tuning/plan.ts';

/** As measured of 1.5B and 0.5B on two cores, and of the model that ships. */
const slow: Speeds = { spent: 40, window: 3, scorerOpening: 4, scoring: 2 };
const medium: Speeds = { spent: 8, window: 0.5, scorerOpening: 2, scoring: 0.7 };
const fast: Speeds = { spent: 2, window: 0.02, scorerOpening: 0.1, scoring: 0.01 };

const request: PlanRequest = {
  seconds: 600,
  tokens: 512,
  evaluationTokens: 16_384,
  heldOutWindows: 1000,
  windows: 5000,
  fitTokens: 80_000,
  perUpdate: 2,
  distils: true,
  keepsStates: false,
  headShare: 0.16,
  calibration: { least: 5, usual: 8 },
};
const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0);

describe.each([
  ['slow', slow, request],
  ['medium', medium, { ...request, seconds: 60, fitTokens: 20_000, evaluationTokens: 8192 }],
  ['medium', medium, request],
  ['fast', fast, request],
] as const)('a %s model %#', (_, speeds, wanted) => {
  const plan = planMinutes(speeds, wanted);

  test('spends the minutes asked, no more and no less', () => {
    const { evaluation, fit, updates, calibration } = plan.seconds;
    expect(speeds.spent + sum([evaluation, fit, updates, calibration])).toBeCloseTo(wanted.seconds, 6);
    expect(evaluation).toBeLessThanOrEqual(0.1 * wanted.seconds);
    // A tenth; of short runs what it takes, with room for a machine that others use.
    expect(calibration).toBeCloseTo(Math.max(0.1 * wanted.seconds, 1.5 * wanted.calibration.usual), 6);
    expect(fit).toBeLessThanOrEqual(2 * updates + 1e-9);
    expect(plan.updates * updateSeconds(speeds, wanted)).toBeLessThanOrEqual(updates);
    expect(plan.minutesNeeded).toBeNull();
    expect(plan.lacks).not.toContain('calibration');
  });

  test('holds out no more than its tenth pays for', () => {
    const windows = plan.evaluationTokens / wanted.tokens;
    const cost =
      4 * wanted.headShare * speeds.scorerOpening +
      windows * (speeds.window + speeds.scoring * (1 + 4 * wanted.headShare));
    if (windows > 2) expect(cost).toBeLessThanOrEqual(plan.seconds.evaluation);
    expect(windows).toBeGreaterThanOrEqual(2);
  });
});

test('a slow model fits for as long as it updates, on fewer tokens than asked', () => {
  const plan = planMinutes(slow, request);
  expect(plan.seconds.fit).toBeGreaterThan(0.3 * request.seconds);
  expect(plan.fitWindows).toBeLessThan(Math.ceil(80_000 / 512));
  expect(plan.evaluationTokens).toBeLessThan(request.evaluationTokens);
});

test('a fast model does all that was asked, and updates for the rest of the time', () => {
  const plan = planMinutes(fast, request);
  expect(plan).toMatchObject({ evaluationTokens: 16_384, fitWindows: Math.ceil(80_000 / 512) });
  expect(plan.seconds.updates).toBeGreaterThan(0.7 * request.seconds);
});

test('there are no more windows than there are, and no fit where none is asked for', () => {
  expect(planMinutes(fast, { ...request, heldOutWindows: 3, windows: 7 })).toMatchObject({
    evaluationTokens: 3 * 512,
    fitWindows: 7,
  });
  const plan = planMinutes(medium, { ...request, fitTokens: null });
  expect(plan.seconds.fit).toBe(0);
  expect(plan.updates).toBe(Math.floor(plan.seconds.updates / updateSeconds(medium, request)));
});

describe('a run that keeps states', () => {
  const keeping = { ...request, keepsStates: true };
  /** Floats take twice the time of a score; two windows an update, and four products of an exit's head. */
  const teaching = 2;
  const learning = 2 * (2 * 2) * 0.16 * 4;

  test('takes the windows of the fit again, so that more updates have room', () => {
    const few = planMinutes(slow, { ...keeping, fitTokens: 40 * 512 });
    expect(few.fitWindows).toBe(40);
    expect(few.pool(40)).toBe(40);
    expect(few.updates).toBe(Math.floor((few.seconds.updates - 40 * teaching) / learning));
    expect(few.updates).toBeGreaterThan(1.5 * planMinutes(slow, request).updates);
    // There is no time to take all of them.
    const plan = planMinutes(slow, keeping);
    expect(plan.pool(plan.fitWindows)).toBe(plan.fitWindows);
    expect(plan.updates).toBe(Math.floor(plan.seconds.updates / (learning + 2 * teaching)));
  });

  test('reads new ones if it would take any of them more than twice', () => {
    const plan = planMinutes(slow, { ...keeping, fitTokens: 4 * 512 });
    const pool = plan.pool(plan.fitWindows)!;
    expect(pool).toBeGreaterThan(plan.fitWindows);
    expect(pool).toBe(plan.updates);
    const used = (pool - plan.fitWindows) * slow.window + pool * teaching + plan.updates * learning;
    expect(used).toBeLessThanOrEqual(plan.seconds.updates + slow.window + teaching);
    expect(used).toBeGreaterThan(plan.seconds.updates - learning - slow.window - teaching);
  });

  test('takes fewer windows, more often, if the fit had time for fewer', () => {
    const plan = planMinutes(slow, { ...keeping, fitTokens: 40 * 512 });
    expect(plan.pool(16)).toBeLessThan(40);
    expect(plan.pool(16)).toBeGreaterThanOrEqual(16);
  });

  test('takes all windows if there are no more, and without a fit', () => {
    expect(planMinutes(slow, { ...keeping, windows: 30 }).pool(30)).toBeNull();
    expect(planMinutes(slow, { ...keeping, fitTokens: null }).pool(0)).toBeNull();
  });
});

describe('calibrating', () => {
  const need = (usual: number) => ({ least: 0.6 * usual, usual });
  const planOf = (usual: number, seconds: number, speeds = medium) =>
    planMinutes(speeds, { ...request, calibration: need(usual), seconds, fitTokens: 20_000, evaluationTokens: 8192 });

  test('has the time that it takes here, and the rest of the run is for its work', () => {
    const plan = planOf(58, 240);
    expect(plan.seconds.calibration).toBeCloseTo(87, 6);
    expect(plan.updates).toBeGreaterThanOrEqual(10);
    expect(plan.lacks).toEqual([]);
  });

  test('has half of a shorter run, if the promise can be kept in that', () => {
    const plan = planOf(58, 110, fast);
    expect(plan.seconds.calibration).toBe(55);
    expect(plan.lacks).toEqual([]);
  });

  test('has more than half of a run that has eight minutes for its work all the same', () => {
    expect([600, 900, 1200, 1800].map((seconds) => calibrationSecondsLeft(seconds, need(800)))).toEqual([
      300, 450, 720, 1200,
    ]);
    const { minutesForAll, seconds } = planOf(600, 1);
    expect(seconds.calibration).toBe(0);
    // Hurried, it takes 600 s.
    expect(minutesForAll).toBe(18);
    expect(planOf(600, 60 * minutesForAll).seconds.calibration).toBe(600);
    expect(planOf(600, 60 * minutesForAll).lacks).toEqual([]);
  });

  test('has no time in a run that is too short for it, which is for the work then, and says which would do', () => {
    const plan = planOf(58, 100);
    expect(plan.seconds.calibration).toBe(0);
    expect(plan.updates).toBeGreaterThanOrEqual(10);
    expect(plan.lacks).toEqual(['calibration']);
    const enough = planOf(58, 60 * plan.minutesForAll);
    expect(enough.lacks).toEqual([]);
    // That has time for bolder thresholds, too, if the machine stays as it is.
    expect(enough.seconds.calibration).toBeGreaterThanOrEqual(58);
  });

  test('takes less patience where updates need the time', () => {
    const { minutesForAll } = planOf(58, 1, { ...medium, spent: 40 });
    const plan = planOf(58, 60 * minutesForAll, { ...medium, spent: 40 });
    expect(plan.updates).toBeGreaterThanOrEqual(10);
    expect(plan.seconds.calibration).toBeGreaterThanOrEqual(58);
    expect(60 * minutesForAll).toBeLessThan(60 + (40 + 58 + plan.seconds.fit + plan.seconds.updates) / 0.9);
  });

  test.each([10, 60, 200])('with little or much work besides, there is room for all (%i s of calibrating)', (usual) => {
    for (const speeds of [fast, medium, slow]) {
      const { minutesForAll } = planOf(usual, 1, speeds);
      const plan = planOf(usual, 60 * minutesForAll, speeds);
      expect(plan.lacks).toEqual([]);
      expect(plan.seconds.calibration).toBeGreaterThanOrEqual(usual);
    }
  });

  test('gives way if beside it nothing would be learned', () => {
    // Half of the run would do for calibrating, but then there is no time for two windows and an update.
    const plan = planOf(20, 61, { ...medium, spent: 20, window: 2 });
    expect(plan.seconds.calibration).toBe(0);
    expect(plan.updates).toBeGreaterThan(0);
    expect(plan.lacks).toContain('calibration');
  });

  test('takes all that is left of a resumed run if it takes as long', () => {
    expect(calibrationSeconds(100, need(60))).toBe(0);
    expect(calibrationSeconds(100, need(60), false)).toBeCloseTo(90, 6);
    expect(calibrationSeconds(80, need(60), false)).toBe(80);
    expect(calibrationSeconds(50, need(60), false)).toBe(0);
  });

  test('keeps as much as it can if the machine became too slow for it after the run began', () => {
    const seconds = [100, 150, 200, 400].map((needed) => calibrationSecondsLeft(600, need(needed)));
    expect(seconds).toEqual([150, 225, 300, 300]);
    expect(calibrationSecondsLeft(80, need(60), false)).toBe(80);
  });
});

test('minutes that bring nothing are distinguished from those that would be enough', () => {
  for (const fitTokens of [80_000, null]) {
    const short = planMinutes(slow, { ...request, seconds: 45, fitTokens });
    expect(short.minutesNeeded).toBeGreaterThan(1);
    expect(planMinutes(slow, { ...request, seconds: 60 * short.minutesNeeded!, fitTokens }).minutesNeeded).toBeNull();
  }
  expect(planMinutes(slow, { ...request, seconds: 20 })).toMatchObject({ updates: 0, fitWindows: 0 });
});
