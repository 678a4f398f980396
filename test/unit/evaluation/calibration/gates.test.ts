/** Gates on made-up exits: one is kept where it saves readings and breaks no promise. */
import { expect, test } from 'vitest';
import { seededRandom } from '../../../../backend/decoding/sampling/random.ts';
import { outcomeOf, type Costs } from '../../../../backend/evaluation/calibration/calibration.ts';
import type { Promised } from '../../../../protocol/options/promise.ts';
import { findGates, withGate, type ExitObservations } from '../../../../backend/evaluation/calibration/gates.ts';

const costs: Costs = { stages: [4, 4, 4], deferred: [0.5, 0.5, 0.5], readings: [1, 0.1, 1] };
const promise: Promised = { measure: 'agreement', limit: 0.99 };
const thresholds = { '1:norm': 0.9, '2:norm': 0.9 };

/**
 * A quarter of the tokens leaves at the first exit and is right there; the second exit is sure of all, and `right` on what the first
 * lets go. States tell who leaves, except that of some, which look as if they stayed.
 */
function madeUp(onOthers: 'right' | 'wrong' | 'wrong where tested'): ExitObservations[] {
  const random = seededRandom(3);
  const none = Array.from({ length: 2000 }, () => 0);
  // As many numbers are drawn as when tokens were, which keeps the others.
  none.forEach(() => random());
  const leaves = none.map(() => random() < 0.25);
  const states = leaves.map((does) => Float32Array.of(does && random() < 0.8 ? 1 : -1, 0.5));
  const view = { deferred: none, states };
  const first = { ...view, exit: '1:norm', stages: 1, regret: none, confidence: leaves.map(Number) };
  const isWrong = (i: number): boolean => onOthers === 'wrong' || (onOthers !== 'right' && i >= none.length / 2);
  const regret = none.map((_, i) => Number(leaves[i] && isWrong(i)));
  return [first, { ...view, exit: '2:norm', stages: 2, regret, confidence: none.map(() => 1) }];
}

test('a gate that saves readings is kept, and agreement is that with it', () => {
  const observed = madeUp('right');
  const { gates, agreement } = findGates(observed, costs, promise, thresholds);
  expect([...gates.keys()]).toEqual(['1:norm']);
  expect(agreement.value).toBe(1);
});

test('a gate that was right where it was chosen and is wrong where it is tested is not', () => {
  const observed = madeUp('wrong where tested');
  expect(findGates(observed, costs, promise, thresholds)).toMatchObject({
    gates: new Map(),
    agreement: { value: 1 },
  });
});

test('a gate that sends tokens on to an exit that is wrong of them is not', () => {
  const observed = madeUp('wrong');
  const [{ gates: sooner }, { gates, agreement }] = [
    findGates(madeUp('right'), costs, promise, thresholds),
    findGates(observed, costs, promise, thresholds),
  ];
  const gated = observed.map((view) => withGate(view, sooner.get(view.exit)));
  expect(outcomeOf(gated, costs, promise, thresholds).agreement.value).toBeLessThan(0.97);
  expect(gates.size).toBe(0);
  expect(agreement.value).toBe(1);
});
