/** The step that trains a whole model: its gradients against differences of its losses, for layers of every shape and files of every form. */
import { describe, expect, it } from 'vitest';
import type { StepState } from '../../../../backend/checkpoint/checkpoint.ts';
import { exitParameters } from '../../../../backend/exits/parameters.ts';
import { initialiseExit } from '../../../../backend/exits/initialise.ts';
import { exitId, type ExitSpec } from '../../../../backend/exits/spec.ts';
import { openWhole, storedValues } from '../../../../backend/recipes/training/whole-model.ts';
import { finalId } from '../../../../backend/tuning/whole/graph.ts';
import { createWholeStep, Diverged, type WindowBatch } from '../../../../backend/tuning/whole/step.ts';
import type { StepSettings, TuningStep } from '../../../../backend/tuning/step/types.ts';
import { maxDifference } from '../../../support/golden.ts';
import { numbers } from '../../autodiff/numbers.ts';
import { crossEntropy, mixed, optimiser, tiny } from '../steps.ts';

/** Tied and not, sandwiched, behind, parallel with a shared norm, fused and transposed, with learned positions, biases and soft caps. */
const families = ['llama-tied', 'gemma2', 'olmo2', 'phi', 'gpt2', 'gpt_neox', 'qwen3', 'phi3'];
const exits: readonly ExitSpec[] = [
  { layer: 1, architecture: 'norm', head: { kind: 'shared' } },
  { layer: 2, architecture: 'mlp', head: { kind: 'shortlist', tokens: [5, 3, 40, 7] } },
  { layer: 2, architecture: 'lens', head: { kind: 'own' } },
  { layer: 3, architecture: 'layer', head: { kind: 'shortlist', tokens: [9, 2] } },
];
const settings: StepSettings = {
  learningRate: 1e-2,
  backboneLearningRate: 1e-3,
  exitWeights: new Map([...exits.map((exit, i) => [exitId(exit), 0.5 + i / 4] as const), [finalId, 1]]),
};
const [batch, tokens] = [2, 6];

interface Opened {
  readonly step: TuningStep<WindowBatch>;
  /** What the step was opened with. */
  readonly given: StepState;
  readonly vocabulary: number;
  readonly close: () => Promise<void>;
}

function opened(family: string, objective = crossEntropy): Opened {
  const model = tiny(family);
  const whole = openWhole(
    model,
    exits.flatMap((exit) => exitParameters(model.spec, exit, model.parameters)),
  );
  const own = exits.flatMap((exit) => [...initialiseExit(model.spec, exit, model.parameters, { kind: 'copy' })]);
  const parameters = new Map([...storedValues(whole), ...own]);
  const given = { updates: 0, parameters, firstMoments: zeros(parameters), secondMoments: zeros(parameters) };
  const step = createWholeStep({
    spec: model.spec,
    exits,
    model: model.parameters,
    places: whole.places,
    state: given,
    shapes: whole.shapes,
    objective,
    optimiser: { ...optimiser, gradientClip: 1e9 },
    batch,
    tokens,
  });
  return {
    step,
    given,
    vocabulary: model.spec.vocabulary,
    close: async () => {
      await step.dispose();
      model.close();
    },
  };
}

const windows = (rows: number, seed = 1): WindowBatch => {
  const token = (x: number): number => Math.floor(((x + 1) / 2) * 64);
  return {
    batch: rows,
    tokens,
    ids: Int32Array.from(numbers(rows * tokens, seed), token),
    targets: Int32Array.from(numbers(rows * tokens, seed + 1), (x, i) => (i % tokens === tokens - 1 ? -1 : token(x))),
  };
};

const copy = (arrays: ReadonlyMap<string, Float32Array>): Map<string, Float32Array> =>
  new Map([...arrays].map(([name, values]) => [name, values.slice()]));
const zeros = (arrays: ReadonlyMap<string, Float32Array>): Map<string, Float32Array> =>
  new Map([...arrays].map(([name, values]) => [name, new Float32Array(values.length)]));
const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);

describe.each(families)('the step of a whole %s', (family) => {
  it('has the slopes of its losses', async () => {
    const { step, close } = opened(family);
    const begin = copy((await step.state()).parameters);
    const lossAt = async (name: string, direction: Float32Array, by: number): Promise<number> => {
      const moved = copy(begin);
      moved.get(name)!.forEach((value, i, all) => (all[i] = value + by * direction[i]!));
      await step.restore({ updates: 0, parameters: moved, firstMoments: zeros(begin), secondMoments: zeros(begin) });
      const { losses } = await step.accumulate(windows(batch), settings);
      return [...losses].reduce((sum, [exit, loss]) => sum + settings.exitWeights.get(exit)! * loss, 0);
    };
    await step.update(windows(batch), settings);
    // Moments began at zero: the first is a tenth of the gradient.
    const gradients = copy((await step.state()).firstMoments);
    let steep = 0;
    for (const [n, [name, tenth]] of [...gradients].entries()) {
      const gradient = tenth.map((value) => value / (1 - optimiser.beta1));
      const size = Math.sqrt(dot(gradient, gradient));
      if (size > 1e-3) steep++;
      const random = numbers(gradient.length, n + 5);
      const length = Math.sqrt(dot(random, random));
      const direction = gradient.map((value, i) => value / Math.max(size, 1e-9) + random[i]! / length);
      const by = 5e-3;
      const slope = ((await lossAt(name, direction, by)) - (await lossAt(name, direction, -by))) / (2 * by);
      expect(Math.abs(dot(gradient, direction) - slope), name).toBeLessThan(2e-3 + 0.02 * Math.abs(slope));
    }
    expect(steep).toBeGreaterThan(0.7 * gradients.size);
    await close();
  });
});

it('makes of two passes what it makes of one', async () => {
  const [one, two] = [opened('llama-tied', mixed), opened('llama-tied', mixed)];
  const whole = windows(2);
  const row = (i: number): WindowBatch => ({
    batch: 1,
    tokens,
    ids: whole.ids.slice(i * tokens, (i + 1) * tokens),
    targets: whole.targets.slice(i * tokens, (i + 1) * tokens),
  });
  const together = await one.step.update(whole, settings);
  await two.step.accumulate(row(0), settings);
  const apart = await two.step.update(row(1), settings);
  for (const [exit, loss] of together.losses) expect(apart.losses.get(exit)).toBeCloseTo(loss, 5);
  for (const [exit, norm] of together.gradientNorms) expect(apart.gradientNorms.get(exit)! / norm).toBeCloseTo(1, 4);
  const [a, b] = [(await one.step.state()).parameters, (await two.step.state()).parameters];
  for (const [name, values] of a) expect(maxDifference(values, b.get(name)!), name).toBeLessThan(2e-4);
  await one.close();
  await two.close();
});

it('does not learn from a loss that is no number', async () => {
  const [one, other] = [opened('llama-tied'), opened('llama-tied')];
  const exitWeights = new Map([...settings.exitWeights].map(([id]) => [id, Infinity]));
  await expect(one.step.update(windows(2), { ...settings, exitWeights })).rejects.toBeInstanceOf(Diverged);
  const [a, b] = [await one.step.state(), await other.step.state()];
  expect(a).toEqual(b);
  // Nor is a part of it left for the next update.
  await Promise.all([one, other].map(({ step }) => step.update(windows(2), settings)));
  expect(a.parameters).toEqual(b.parameters);
  await one.close();
  await other.close();
});

it('takes over the state that it is given: a second one may not fit', async () => {
  const { step, given, close } = opened('llama-tied');
  const state = await step.state();
  for (const kind of ['parameters', 'firstMoments', 'secondMoments'] as const)
    for (const [name, values] of state[kind]) expect(values, name).toBe(given[kind].get(name));
  await close();
});

it('tells gaps over the vocabulary of exits that learn from the final one', async () => {
  const given = windows(2);
  const targets = given.targets.filter((token) => token >= 0);
  const [{ step, vocabulary, close }, plain] = [opened('llama-tied', mixed), opened('llama-tied')];
  await step.accumulate(given, settings);
  const { crossEntropies, gaps } = await step.update(given, settings);
  expect([...gaps.keys()]).toEqual(exits.map(exitId));
  for (const exit of exits) {
    const { head } = exit;
    const listed = head.kind === 'shortlist' ? head.tokens : null;
    const outside = listed ? targets.filter((token) => !listed.includes(token)).length / targets.length : 0;
    const share = listed ? outside * Math.log(vocabulary - listed.length) : 0;
    const expected = crossEntropies.get(exitId(exit))! + share - crossEntropies.get(finalId)!;
    expect(gaps.get(exitId(exit)), exitId(exit)).toBeCloseTo(expected, 5);
  }
  expect((await plain.step.update(given, settings)).gaps.size).toBe(0);
  await close();
  await plain.close();
});
