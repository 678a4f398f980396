/** Gates on made-up exits: one is kept where it saves readings and breaks no promise. */
import { expect, test } from 'vitest';
import { seededRandom } from '../../../backend/decoding/random.ts';
import { outcomeOf, type Costs } from '../../../backend/evaluation/calibration.ts';
import { findGates, withGate, type Heard } from '../../../backend/evaluation/gates.ts';

const costs: Costs = { stages: [4, 4, 4], deferred: [0.5, 0.5, 0.5], readings: [1, 0.1, 1] };
const thresholds = { '1:norm': 0.9, '2:norm': 0.9 };

/**
 * A quarter of the tokens leaves at the first exit and is right there; the second exit is sure of all, and `right` on what the first
 * lets go. States tell who leaves, except that of some, which look as if they stayed.
 */
function madeUp(onOthers: 'right' | 'wrong' | 'wrong where tested'): { heard: Heard[]; final: number[] } {
  const random = seededRandom(3);
  const final = Array.from({ length: 2000 }, () => Math.floor(random() * 100));
  const leaves = final.map(() => random() < 0.25);
  const states = leaves.map((does) => Float32Array.of(does && random() < 0.8 ? 1 : -1, 0.5));
  const view = { deferred: final.map(() => 0), states };
  const first = { ...view, exit: '1:norm', stages: 1, token: final, confidence: leaves.map(Number) };
  const isWrong = (i: number): boolean => onOthers === 'wrong' || (onOthers !== 'right' && i >= final.length / 2);
  const token = final.map((id, i) => (leaves[i] && isWrong(i) ? 100 : id));
  return { heard: [first, { ...view, exit: '2:norm', stages: 2, token, confidence: final.map(() => 1) }], final };
}

test('a gate that saves readings is kept, and agreement is that with it', () => {
  const { heard, final } = madeUp('right');
  const { gates, agreement } = findGates(heard, final, costs, thresholds);
  expect([...gates.keys()]).toEqual(['1:norm']);
  expect(agreement).toBe(1);
});

test('a gate that was right where it was chosen and is wrong where it is tested is not', () => {
  const { heard, final } = madeUp('wrong where tested');
  expect(findGates(heard, final, costs, thresholds)).toMatchObject({ gates: new Map(), agreement: 1 });
});

test('a gate that sends tokens on to an exit that is wrong of them is not', () => {
  const { heard, final } = madeUp('wrong');
  const [{ gates: sooner }, { gates, agreement }] = [
    findGates(madeUp('right').heard, final, costs, thresholds),
    findGates(heard, final, costs, thresholds),
  ];
  const gated = heard.map((view) => withGate(view, sooner.get(view.exit)));
  expect(outcomeOf(gated, final, costs, thresholds).agreement).toBeLessThan(0.97);
  expect(gates.size).toBe(0);
  expect(agreement).toBe(1);
});
