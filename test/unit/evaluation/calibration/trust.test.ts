/** Leaving with hints, as exits of their own: chances that are true are found, and rules come back as they were. */
import { expect, test } from 'vitest';
import type { Position } from '../../../../backend/decoding/leaving/observe.ts';
import { seededRandom } from '../../../../backend/decoding/sampling/random.ts';
import { chanceBy } from '../../../../backend/decoding/leaving/trust.ts';
import { byHint, fitTrust, ruleOf, thresholdsOfViews } from '../../../../backend/evaluation/calibration/trust.ts';
import { trustOf } from '../../../../backend/exits/trust.ts';

const random = seededRandom(9);
const width = 4;
// Reads the second number of a stream whose size is 1.
const direction = Float32Array.from([0, 1, 0, 0, 0]);

/** Every second place has a clear hint, which is right as often as the stream and the length of the match say. */
function written(tokens: number): Position[] {
  return Array.from({ length: tokens }, (_, i): Position => {
    const angle = 2 * Math.PI * random();
    const state = Float32Array.from([2 * Math.cos(angle), 2 * Math.sin(angle), 0, 0]);
    const matched = 3 + Math.floor(random() * 10);
    const odds = 0.5 + 1.5 * 2 * Math.sin(angle) + 0.4 * Math.log(matched);
    const isRight = random() < 1 / (1 + Math.exp(-odds));
    const hint = { token: 7, matched, votes: 1, isClear: i % 2 === 0, regret: isRight ? 0 : 5 };
    return { token: 7, hint, observations: [{ token: 1, confidence: 0.1, regret: 5, agreement: null, state }] };
  });
}

const fitted = fitTrust({ exit: '2:lens', stages: 1, k: 0, direction }, written(8000), {
  measure: 'regret',
  limit: 0.02,
});

test('the chance of a clear hint is what it is true to be; other places defer', () => {
  expect(direction.length).toBe(width + 1);
  const { weights, view } = fitted;
  expect(Math.abs(weights.trust - 1.5)).toBeLessThan(0.15);
  expect(Math.abs(weights.matched - 0.4)).toBeLessThan(0.2);
  const unseen = written(2000).filter(({ hint }) => hint!.isClear);
  const chance = ({ observations, hint }: Position): number =>
    chanceBy(weights, trustOf(direction, observations[0]!.state), hint!);
  const expected = unseen.reduce((sum, place) => sum + chance(place), 0);
  const right = unseen.filter(({ hint }) => hint!.regret === 0).length;
  expect(unseen.length).toBe(1000);
  expect(Math.abs(expected - right)).toBeLessThan(40);
  expect(Array.from(view.deferred).filter((one, i) => one !== i % 2)).toEqual([]);
});

test('a rule comes back as it was, and an exit without a threshold has its hints alone', () => {
  const both = { '2:lens': 0.9, [byHint('2:lens')]: 0.97 };
  expect(thresholdsOfViews(ruleOf(both, [fitted]))).toEqual(both);
  expect(ruleOf(both, [fitted]).trust.get('2:lens')!.isAlone).toBe(false);
  const alone = { [byHint('2:lens')]: 0.97 };
  expect(thresholdsOfViews(ruleOf(alone, [fitted]))).toEqual(alone);
  expect(ruleOf(alone, [fitted]).trust.get('2:lens')!.isAlone).toBe(true);
  expect(ruleOf({ '4:lens': 0.9 }, [fitted])).toEqual({ thresholds: { '4:lens': 0.9 }, trust: new Map() });
});
