import { expect, it } from 'vitest';
import { groupsOf, sweptGroup } from '../../../../backend/evaluation/report/groups.ts';
import type { TuningRun } from '../../../../backend/evaluation/report/runs.ts';

const run = (options: Record<string, unknown>): TuningRun => ({
  kind: 'tuning',
  name: 'r',
  model: 'm',
  layers: 12,
  exits: ['8:lens'],
  options,
  isFinished: true,
  updates: 1,
  tokens: 1,
  seconds: 1,
  before: [],
  scores: [],
  evaluations: [],
});

it('runs that differ in the seed alone are one group, named by what tells it from the others', () => {
  const groups = groupsOf([run({ exits: '4', seed: 1 }), run({ exits: '8', seed: 1 }), run({ exits: '4', seed: 2 })]);
  expect(groups.map(({ name, runs }) => [name, runs.length])).toEqual([
    ['exits 4', 2],
    ['exits 8', 1],
  ]);
});

it('runs of the whole model are one group, though each names the new model that came of it', () => {
  const whole = (model: string, seed: number): TuningRun =>
    run({ continuePretraining: 'a.exits', model, exits: null, seed });
  const alone = (seed: number): TuningRun => run({ continuePretraining: null, model: 'm', exits: '8', seed });
  const groups = groupsOf([alone(1), whole('/x/002', 1), alone(2), whole('/x/004', 2)]);
  expect(groups.map(({ runs }) => runs.length)).toEqual([2, 2]);
});

it('seeds are counted, not runs', () => {
  const [group] = groupsOf([run({ exits: '4', seed: 1 }), run({ exits: '4', seed: 1 }), run({ exits: '4', seed: 2 })]);
  expect(sweptGroup(group!).seeds).toBe(2);
});

it('exits without scores, as those of import, have no mean', () => {
  const { exits } = sweptGroup(groupsOf([run({ seed: 1 }), run({ seed: 2 })])[0]!);
  expect(exits).toEqual([]);
  const scored = { exit: '8:lens', layer: 8, loss: 2, perplexity: 1, accuracy: 0, agreement: 1 };
  const [group] = groupsOf([run({ seed: 1 }), { ...run({ seed: 2 }), scores: [scored] }]);
  expect(sweptGroup(group!).exits).toMatchObject([{ exit: '8:lens', loss: { mean: 2 } }]);
});

it('what the machine is splits a group if runs of one seed differ in it, and only then', () => {
  const over = (...options: Record<string, unknown>[]) => groupsOf(options.map(run)).map(({ name }) => name);
  expect(over({ seed: 1, threads: 1 }, { seed: 1, threads: 2 }, { seed: 2, threads: 1 })).toEqual([
    'threads 1',
    'threads 2',
  ]);
  expect(over({ seed: 1, device: 'cpu' }, { seed: 2, device: 'vulkan' })).toEqual(['m']);
  expect(over({ seed: 1, out: 'a', threads: 1 }, { seed: 1, out: 'b', threads: 1 })).toEqual(['m']);
});
