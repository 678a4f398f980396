/** What a calibration takes, from made-up times. */
import { expect, test } from 'vitest';
import {
  calibrationNeed,
  fewestObserved,
  judgingSeconds,
  wantedTokens,
} from '../../../../backend/evaluation/calibration/calibration-time.ts';
import { noTimeLimit } from '../../../../backend/evaluation/calibration/calibration-texts.ts';
import { fewestJudged } from '../../../../backend/evaluation/calibration/promise.ts';
import { calibrationSeconds } from '../../../../backend/tuning/plan.ts';
import { usualPromise } from '../../../../protocol/options/groups.ts';

/** Of half a billion parameters on two quiet cores. */
const times = { loading: 2, opening: 1, fullPass: 0.02, ofPrompt: 0.005, aToken: 0.013 };
const text = { remembers: true, areChats: false };
const promised = { ...usualPromise, promise: { ...usualPromise.promise } };

test('the usual promise takes about three and a half minutes of half a billion parameters', () => {
  const { least, usual: seconds } = calibrationNeed(times, promised, text);
  expect(least).toBeGreaterThan(100);
  expect(least).toBeLessThan(0.7 * seconds);
  expect(seconds).toBeGreaterThan(180);
  expect(seconds).toBeLessThan(220);
});

test('of the model that ships it has taken twelve seconds, which a plan leaves with its half of patience', () => {
  const small = { loading: 0.05, opening: 0.1, fullPass: 0.0008, ofPrompt: 0.0002, aToken: 0.0002 };
  expect(calibrationSeconds(60, calibrationNeed(small, promised, text))).toBeGreaterThan(10);
  expect(calibrationSeconds(60, calibrationNeed(small, promised, text))).toBeLessThan(20);
});

test('as long as judging takes: three candidates took 116 seconds where a token took 16 ms', () => {
  expect(judgingSeconds(promised, true, 0.016)).toBeGreaterThan(110);
  expect(judgingSeconds(promised, true, 0.016)).toBeLessThan(130);
});

test('it grows as the machine gets slower, and as the promise gets stricter', () => {
  const slower = Object.fromEntries(Object.entries(times).map(([key, value]) => [key, 3 * value])) as typeof times;
  const usual = (of: typeof times, request = promised) => calibrationNeed(of, request, text).usual;
  const ratio = usual(slower) / usual(times);
  expect(ratio).toBeGreaterThan(2.9);
  // What is done outside of passes does not grow with the model.
  expect(ratio).toBeLessThan(3);
  const strict = { ...promised, promise: { measure: 'regret' as const, limit: 0.005 } };
  expect(calibrationNeed(times, strict, text).usual).toBeGreaterThan(1.5 * usual(times));
});

test('of chats the race takes longer, since exits prove themselves in each answer first', () => {
  const need = (areChats: boolean): number => calibrationNeed(times, promised, { ...text, areChats }).least;
  const more = need(true) - need(false);
  // Eight texts of 32 more tokens, written in the time of 3.5 at full depth.
  expect(more).toBeCloseTo(8 * 32 * 3.5 * (times.fullPass + 0.0004), 6);
});

test('text is judged only of exits with memories and under a promise that allows a loss', () => {
  expect(judgingSeconds(promised, true, 0.01)).toBeCloseTo(1.75 * 5 * fewestJudged(promised) * 0.01, 6);
  expect(judgingSeconds(promised, false, 0.01)).toBe(0);
  const lossless = { ...promised, promise: { measure: 'agreement' as const, limit: 1 } };
  expect(judgingSeconds(lossless, true, 0.01)).toBe(0);
  // What candidates write is judged, so fewer tokens of the full model's text suffice.
  expect(fewestObserved(promised, true)).toBeLessThan(fewestObserved(promised, false));
});

test('more tokens are wanted where they test the promise, and if it is strict; as many as requested, if these suffice', () => {
  const wanting = (limit: number, tokens: number | null, remembers: boolean): number => {
    const promise = { measure: 'regret' as const, limit };
    return wantedTokens({ promise, certainty: 0.95, tokens, time: noTimeLimit }, remembers);
  };
  expect(wanting(0.02, null, true)).toBe(1024);
  expect(wanting(0.02, null, false)).toBe(3072);
  expect(wanting(0.02, 5000, true)).toBe(5000);
  expect(wanting(0.001, null, true)).toBe(1024);
  expect(wanting(0.001, null, false)).toBeGreaterThan(20_000);
});
