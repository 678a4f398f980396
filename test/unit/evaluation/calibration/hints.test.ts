/** Weights of hints are found where they are known, and little text says little. */
import { expect, test } from 'vitest';
import { logOdds, raised, type HintAgreement, type HintWeights } from '../../../../backend/decoding/leaving/hints.ts';
import { seededRandom } from '../../../../backend/decoding/sampling/random.ts';
import { fitHints, withHints, type HintedView } from '../../../../backend/evaluation/calibration/hints.ts';
import type { Promised } from '../../../../protocol/options/promise.ts';

const promise: Promised = { measure: 'agreement', limit: 0.99 };
const truth: HintWeights = { agrees: 1, agreesClearly: 2.5, contradicts: -0.5, contradictsClearly: -1.5 };
const ways = [...Object.keys(truth), null] as (HintAgreement | null)[];

/** An exit that is as often right as its probability, raised by what is true of hints, says. */
function viewOf(tokens: number, seed: number): HintedView {
  const random = seededRandom(seed);
  const confidence = Array.from({ length: tokens }, () => 0.5 + 0.49 * random());
  const agreements = confidence.map(() => ways[Math.floor(random() * ways.length)]!);
  const isRight = agreements.map((way, i) => random() < raised(confidence[i]!, way === null ? 0 : truth[way]));
  const regret = isRight.map((right) => (right ? 0 : 2));
  return { exit: '2:lens', stages: 1, confidence, agreements, regret, deferred: confidence.map(() => 0) };
}

test('the weights that are true are found', () => {
  const found = fitHints(viewOf(40_000, 1), promise, 40_000);
  for (const [way, weight] of Object.entries(truth))
    expect(Math.abs(found[way as HintAgreement] / weight - 1)).toBeLessThan(0.2);
});

test('a few predictions change little of what is usual', () => {
  const { agrees, agreesClearly, contradicts, contradictsClearly } = fitHints(viewOf(500, 2), promise, 10);
  expect(agreesClearly).toBeGreaterThan(agrees);
  expect(agrees).toBeGreaterThan(0);
  expect(contradicts).toBeLessThan(0.5);
  expect(contradictsClearly).toBeLessThan(contradicts);
});

test('an exit that is always right, or says nothing, has weights, too', () => {
  const right = viewOf(500, 3);
  const weightsOf = (view: HintedView): number[] => Object.values(fitHints(view, promise, 500)) as number[];
  expect(weightsOf({ ...right, regret: right.regret && Array<number>(500).fill(0) }).every(Number.isFinite)).toBe(true);
  expect(weightsOf({ ...right, deferred: Array<number>(500).fill(1) })).toEqual([1, 2, -0.3, -0.8]);
});

test('a view with hints is as sure as decoding is', () => {
  const view = viewOf(50, 4);
  const { confidence } = withHints(view, truth);
  for (const [i, way] of view.agreements.entries()) {
    const odds = logOdds(confidence[i]!) - logOdds(view.confidence[i]!);
    expect(odds).toBeCloseTo(way === null ? 0 : truth[way], 6);
  }
});
