/** What the step promises the trainer, on tiny exits: for the compiled step and for its eager twin. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { exitId, exitPath, type ExitSpec } from '../../../../backend/exits/spec.ts';
import type { StepOptions } from '../../../../backend/tuning/step/step.ts';
import { padBatch, planStep, shortlistClasses, targetClasses } from '../../../../backend/tuning/step/plan.ts';
import type { StepState } from '../../../../backend/checkpoint/checkpoint.ts';
import type { TuningStep } from '../../../../backend/tuning/step/types.ts';
import {
  allExits,
  compiled,
  crossEntropy,
  eager,
  mixed,
  optionsOf,
  randomBatch,
  sequences,
  settingsOf,
  tiny,
} from '../steps.ts';

const model = tiny('llama-untied');
const settings = settingsOf(allExits);
const batch = randomBatch(model, allExits, 3, 6);
const other = randomBatch(model, allExits, 3, 6, 2);
const options = optionsOf(model, allExits, crossEntropy);

/** Largest difference of parameters and moments, relative to the largest value of each tensor. */
function distance(a: StepState, b: StepState, names = [...a.parameters.keys()]): number {
  let worst = 0;
  for (const part of ['parameters', 'firstMoments', 'secondMoments'] as const) {
    for (const name of names) {
      const [x, y] = [a[part].get(name)!, b[part].get(name)!];
      const scale = x.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1e-8);
      x.forEach((value, i) => (worst = Math.max(worst, Math.abs(value - y[i]!) / scale)));
    }
  }
  return worst;
}

/** The final exit's cross-entropy on the batch in a plain loop, and how many targets a list lacks. */
function finalOnBatch(): { final: number; outside: (list: readonly number[]) => number; count: number } {
  const { hidden, vocabulary } = model.spec;
  const head = model.parameters.values('lm_head.weight');
  let final = 0;
  batch.targets.forEach((target, position) => {
    if (target < 0) return;
    const logits = Array.from({ length: vocabulary }, (_, token) => {
      let sum = 0;
      for (let j = 0; j < hidden; j++) sum += batch.final![position * hidden + j]! * head[token * hidden + j]!;
      return sum;
    });
    const highest = Math.max(...logits);
    final += highest + Math.log(logits.reduce((sum, each) => sum + Math.exp(each - highest), 0)) - logits[target]!;
  });
  const targets = [...batch.targets].filter((target) => target >= 0);
  return { final, outside: (list) => targets.filter((id) => !list.includes(id)).length, count: targets.length };
}

beforeAll(async () => {
  await tf.setBackend('cpu');
});

describe.each([
  ['compiled', (of: StepOptions) => compiled(of, 3, 6)],
  ['eager', eager],
] as const)('%s', (kind, create) => {
  const after = async (step: TuningStep, run: (step: TuningStep) => Promise<unknown>): Promise<StepState> => {
    await run(step);
    const state = await step.state();
    await step.dispose();
    return state;
  };

  test('tells the cross-entropy whatever the exits learn from', async () => {
    const plain = await create(options);
    const distilling = await create({ ...options, objective: { ...mixed, crossEntropy: 0 } });
    const { losses } = await plain.update(batch, settings);
    await distilling.accumulate(sequences(batch, 0, 1), settings);
    const result = await distilling.update(sequences(batch, 1, 3), settings);
    for (const [id, loss] of losses) {
      expect(result.crossEntropies.get(id)!).toBeCloseTo(loss, 5);
      expect(result.losses.get(id)!).not.toBeCloseTo(loss, 2);
    }
    await plain.dispose();
    await distilling.dispose();
  });

  test('tells how far each exit is from the final one on the same tokens, over the whole vocabulary', async () => {
    const plain = await create(options);
    const { gaps } = await plain.update(batch, settings);
    expect(gaps.size).toBe(0);
    const distilling = await create({ ...options, objective: mixed });
    await distilling.accumulate(sequences(batch, 0, 1), settings);
    const result = await distilling.update(sequences(batch, 1, 3), settings);
    const { final, outside, count } = finalOnBatch();
    for (const exit of allExits) {
      const spread =
        exit.head.kind === 'shortlist'
          ? outside(exit.head.tokens) * Math.log(model.spec.vocabulary - exit.head.tokens.length)
          : 0;
      const own = result.crossEntropies.get(exitId(exit))! + spread / count;
      expect(result.gaps.get(exitId(exit))!).toBeCloseTo(own - final / count, 4);
    }
    await plain.dispose();
    await distilling.dispose();
  });

  test('micro-batches accumulated equal one batch, though their numbers of targets differ', async () => {
    const whole = await create(options);
    const result = await whole.update(batch, settings);
    const parts = await create(options);
    const first = await parts.accumulate(sequences(batch, 0, 1), settings);
    const last = await parts.update(sequences(batch, 1, 3), settings);
    for (const exit of allExits) {
      const id = exitId(exit);
      expect(last.losses.get(id)!).toBeCloseTo(result.losses.get(id)!, 5);
      expect(last.gradientNorms.get(id)!).toBeCloseTo(result.gradientNorms.get(id)!, 5);
      expect(first.losses.get(id)!).not.toBeCloseTo(result.losses.get(id)!, 3);
    }
    expect(distance(await whole.state(), await parts.state())).toBeLessThan(1e-4);
    // Nothing of the first update is left over in the second.
    await whole.update(other, settings);
    await parts.update(other, settings);
    expect(distance(await whole.state(), await parts.state())).toBeLessThan(1e-4);
    await whole.dispose();
    await parts.dispose();
  });

  test.each(['llama-untied', 'qwen3_moe'])('exits of %s tuned together equal exits tuned alone', async (family) => {
    const model = tiny(family);
    const [first, second] = [randomBatch(model, allExits, 3, 6), randomBatch(model, allExits, 3, 6, 2)];
    const run = async (step: TuningStep): Promise<void> => {
      for (const each of [first, second, first]) await step.update(each, settings);
    };
    const together = await after(await create(optionsOf(model, allExits, crossEntropy)), run);
    for (const exit of allExits) {
      const alone = await after(await create(optionsOf(model, [exit], crossEntropy)), run);
      const names = [...alone.parameters.keys()];
      expect(names.every((name) => name.startsWith(`${exitPath(exit)}.`))).toBe(true);
      expect(distance(alone, together, names)).toBe(0);
    }
  });

  test('a joint clip depends on all exits', async () => {
    const joint = { ...options, optimiser: { ...options.optimiser, clip: 'joint', gradientClip: 0.01 } } as const;
    const each = { ...joint, optimiser: { ...joint.optimiser, clip: 'each' } } as const;
    const run = (step: TuningStep): Promise<unknown> => step.update(batch, settings);
    const [a, b] = [await after(await create(joint), run), await after(await create(each), run)];
    // The first moment is a tenth of the clipped gradient.
    const norm = (state: StepState): number =>
      10 * Math.hypot(...[...state.firstMoments.values()].map((m) => Math.hypot(...m)));
    expect(norm(a)).toBeCloseTo(0.01, 5);
    expect(norm(b)).toBeCloseTo(0.01 * Math.sqrt(allExits.length), 5);
  });

  test('a step restored goes on as if it had not stopped', async () => {
    const steady = await create(optionsOf(model, allExits, mixed));
    await steady.update(batch, settings);
    const saved = structuredClone(await steady.state());
    const result = await steady.update(other, settings);
    const resumed = await create(optionsOf(model, allExits, mixed));
    await resumed.accumulate(batch, settings); // Must be forgotten.
    await resumed.restore(saved);
    expect(await resumed.update(other, settings)).toEqual(result);
    expect(distance(await resumed.state(), await steady.state())).toBe(0);
    expect((await resumed.state()).updates).toBe(2);
    await steady.dispose();
    await resumed.dispose();
  });

  test('a state holds until the next update, and first values are copied', async () => {
    const own = optionsOf(model, allExits, crossEntropy);
    const step = await create(own);
    const kept = structuredClone((await step.state()).parameters);
    expect(kept).toEqual(new Map(own.initial));
    for (const values of own.initial.values()) values.fill(NaN);
    expect((await step.state()).parameters).toEqual(kept);
    const { losses } = await step.update(batch, settings);
    expect([...losses.values()].every(Number.isFinite)).toBe(true);
    expect((await step.state()).parameters).not.toEqual(kept);
    await step.dispose();
  });

  test('losses fall', async () => {
    const step = await create(options);
    const first = await step.update(batch, settings);
    for (let i = 0; i < 10; i++) await step.update(batch, settings);
    const last = await step.accumulate(batch, settings);
    for (const [id, loss] of first.losses) expect(last.losses.get(id)!).toBeLessThan(loss);
    await step.dispose();
  });

  test('a batch without targets changes no moment', async () => {
    const step = await create(options);
    const { losses, gradientNorms } = await step.update({ ...batch, targets: batch.targets.map(() => -1) }, settings);
    expect([...losses.values(), ...gradientNorms.values()].every((value) => value === 0)).toBe(true);
    expect([...(await step.state()).firstMoments.values()].every((values) => values.every((m) => m === 0))).toBe(true);
    await step.dispose();
  });

  test('what is missing is named', async () => {
    const step = await create(options);
    await expect(step.update(batch, { ...settings, exitWeights: new Map() })).rejects.toThrow(
      'no weight for the exit 1:embedding',
    );
    await expect(step.update({ ...batch, features: new Map() }, settings)).rejects.toThrow('no features at 1.end');
    await expect(step.restore({ ...(await step.state()), parameters: new Map() })).rejects.toThrow(
      'exits.1.embedding.head.weight',
    );
    await step.dispose();
    const distilling = await create(optionsOf(model, allExits, mixed));
    await expect(distilling.update({ ...batch, final: null }, settings)).rejects.toThrow('final state');
    await distilling.dispose();
    const initial = new Map([...options.initial].slice(1));
    await expect(create({ ...options, initial })).rejects.toThrow(
      'lacks the parameter "exits.1.embedding.head.weight"',
    );
  });

  test('keeps no tensors', async () => {
    const start = tf.memory().numTensors;
    const step = await create(optionsOf(model, allExits, mixed));
    await step.update(batch, settings);
    const steady = tf.memory().numTensors;
    await step.accumulate(batch, settings);
    await step.update(batch, settings);
    await step.restore(await step.state());
    expect(tf.memory().numTensors).toBe(steady);
    if (kind === 'compiled') expect(steady).toBe(start);
    await step.accumulate(batch, settings);
    await step.dispose();
    expect(tf.memory().numTensors).toBe(start);
  });
});

describe('a compiled step', () => {
  test('takes smaller batches, as the eager one does', async () => {
    const small = sequences(batch, 0, 2);
    const a = await compiled(optionsOf(model, allExits, mixed), 4, 9);
    const b = await eager(optionsOf(model, allExits, mixed));
    const [x, y] = [await a.update(small, settings), await b.update(small, settings)];
    for (const [id, loss] of y.losses) expect(x.losses.get(id)!).toBeCloseTo(loss, 5);
    expect(distance(await a.state(), await b.state())).toBeLessThan(1e-3);
    await a.dispose();
    await b.dispose();
  });

  test('refuses larger ones', () => {
    expect(() => padBatch(batch, 2, 6)).toThrow('a batch of 3 × 6 in a step compiled for 2 × 6');
    expect(() => padBatch(batch, 3, 5)).toThrow();
  });
});

describe('a plan', () => {
  const groupsOf = (objective: typeof mixed, vocabulary: number): number[] => {
    const [first, second] = allExits.filter(({ head }) => head.kind === 'own');
    const exits = [first!, second!];
    const real = optionsOf(model, exits, objective);
    const scale = (shape: readonly number[]): number[] =>
      shape.map((size) => (size === model.spec.vocabulary ? vocabulary : size));
    const shape = (name: string): number[] => scale(model.parameters.shape(name));
    const initial = new Map(
      [...real.initial].map(([name, values]) => {
        const length = name.endsWith('.head.weight') ? vocabulary * model.spec.hidden : values.length;
        return [name, { length } as Float32Array];
      }),
    );
    const spec = { ...model.spec, vocabulary };
    const parameters = { has: (name: string) => model.parameters.has(name), shape, values: () => new Float32Array() };
    return planStep({ ...real, spec, model: parameters, initial }).groups.map((group) => group.length);
  };

  test('sends exits through one pass where they share a teacher and their gradients are small', () => {
    expect(groupsOf(crossEntropy, 256)).toEqual([1, 1]);
    expect(groupsOf(mixed, 256)).toEqual([2]);
    expect(groupsOf(mixed, 2 ** 20)).toEqual([1, 1]);
  });

  test('maps targets outside a shortlist to the defer class', () => {
    const exit: ExitSpec = { layer: 1, architecture: 'norm', head: { kind: 'shortlist', tokens: [3, 0] } };
    expect([...shortlistClasses(exit, 5)!]).toEqual([1, 2, 2, 0, 2]);
    expect(shortlistClasses({ ...exit, head: { kind: 'own' } }, 5)).toBeNull();
    const planned = planStep(options).exits[2]!; // Tokens 5, 3, 40, 7.
    const targets = Int32Array.of(7, 6, -1, 5);
    expect([...targetClasses({ ...batch, targets }, planned)]).toEqual([3, 4, 0, 0]);
  });
});
