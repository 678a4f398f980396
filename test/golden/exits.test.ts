/**
 * Exits against PyTorch (see the notes in the golden file): losses and gradients of each exit, and trajectories of 20 AdamW
 * updates over eight exits at once: six of the compiled step, and the beginnings of three of its eager twin, which is slow.
 */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { initialiseExit } from '../../backend/exits/initialise.ts';
import { exitCut } from '../../backend/exits/architectures.ts';
import { exitId, exitPath, type ExitArchitecture, type ExitSpec } from '../../backend/exits/spec.ts';
import { openModel } from '../../backend/model/open.ts';
import { compareCuts, cutName, finalCut, type Cut } from '../../backend/model/spec.ts';
import { openFeatureModel } from '../../backend/runtime/open.ts';
import { createCompiledStep, createEagerStep } from '../../backend/tuning/step/step.ts';
import { plainTeach } from '../support/teacher.ts';
import type { StepBatch } from '../../backend/features/features.ts';
import type { ObjectiveOptions, OptimiserOptions, TuningStep } from '../../backend/tuning/step/types.ts';
import { fixtures, readGolden } from '../support/golden.ts';

interface Single {
  ce: number;
  ce_dynamic: number;
  kl_to_final: number;
  grad_l2: Record<string, number>;
}
interface Trajectory {
  loss: number[][];
  grad_norm: number[];
  param_l2_after_20: Record<string, Record<string, number>>;
}
interface Golden {
  exits: string[];
  single: Record<string, Single>;
  trajectory: Record<string, Trajectory>;
  batch_ids: number[][];
  single_ids: number[];
  summed_loss: number;
  global_grad_l2: number;
}

const golden = readGolden<Golden>('exits', 'llama-untied.json');
const model = openModel(join(fixtures, 'tiny', 'llama-untied'));
const { spec } = model;

/** `mlp@2` of the golden file. */
const exits = golden.exits.map((name): ExitSpec => {
  const [architecture, layer] = name.split('@') as [ExitArchitecture, string];
  return { layer: Number(layer), architecture, head: { kind: 'own' } };
});
/** The golden file calls a `layer` exit's layer `block`. */
const ourName = (exit: ExitSpec, name: string): string => `${exitPath(exit)}.${name.replace(/^block\./, 'layer.')}`;

const initial = new Map(exits.flatMap((exit) => [...initialiseExit(spec, exit, model.parameters, { kind: 'copy' })]));
const batch: StepBatch = await featuresOf(golden.batch_ids);
const single: StepBatch = await featuresOf([golden.single_ids]);

async function featuresOf(ids: number[][]): Promise<StepBatch> {
  const tokens = ids[0]!.length;
  const unique = new Map(exits.map((exit) => [cutName(exitCut(exit)), exitCut(exit)]));
  const cuts: Cut[] = [...unique.values(), finalCut(spec)].sort(compareCuts);
  const distinct = cuts.filter((cut, i) => cuts.findIndex((other) => cutName(other) === cutName(cut)) === i);
  const features = await openFeatureModel(model, distinct);
  const streams = await features.features(Int32Array.from(ids.flat()), ids.length, tokens);
  await features.dispose();
  const byCut = new Map(distinct.map((cut, i) => [cutName(cut), streams[i]!]));
  const gain = model.parameters.values('norm.weight');
  const hidden = byCut.get(cutName(finalCut(spec)))!;
  const final = hidden.map((x, i) => {
    const row = Math.floor(i / spec.hidden) * spec.hidden;
    const square = hidden.subarray(row, row + spec.hidden).reduce((sum, y) => sum + y * y, 0) / spec.hidden;
    return (x / Math.sqrt(square + spec.norm.epsilon)) * gain[i - row]!;
  });
  const targets = Int32Array.from(ids.flatMap((row) => [...row.slice(1), -1]));
  return { batch: ids.length, tokens, features: byCut, targets, final };
}

const objectives: Record<string, ObjectiveOptions> = {
  ce: { crossEntropy: 1, distillation: 0, weighting: 'uniform' },
  dynamic: { crossEntropy: 1, distillation: 0, weighting: 'dynamic' },
  kl: { crossEntropy: 0, distillation: 1, weighting: 'uniform' },
};
const optimiserOf = (decay: OptimiserOptions['decay']): OptimiserOptions => ({
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-5,
  weightDecay: 0.01,
  decay,
  gradientClip: 1,
  clip: 'joint',
});
const settings = { learningRate: 1e-3, exitWeights: new Map(exits.map((exit) => [exitId(exit), 1])) };
const l2 = (values: Float32Array): number => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
const relative = (value: number, reference: number): number =>
  Math.abs(value - reference) / Math.max(1e-2, Math.abs(reference));

type Create = (
  chosen: readonly ExitSpec[],
  objective: ObjectiveOptions,
  optimiser: OptimiserOptions,
) => Promise<TuningStep>;
const optionsOf = (chosen: readonly ExitSpec[]): { initial: Map<string, Float32Array>; spec: typeof spec } => ({
  spec,
  initial: new Map([...initial].filter(([name]) => chosen.some((exit) => name.startsWith(`${exitPath(exit)}.`)))),
});
const steps: Record<'compiled' | 'eager', Create> = {
  // Chunks that divide the 48 positions unevenly.
  compiled: (chosen, objective, optimiser) =>
    createCompiledStep({
      ...optionsOf(chosen),
      exits: chosen,
      model: model.parameters,
      objective,
      optimiser,
      teach: plainTeach(model, chosen),
      batch: golden.batch_ids.length,
      tokens: golden.batch_ids[0]!.length,
      chunk: 20,
    }),
  eager: (chosen, objective, optimiser) =>
    createEagerStep({
      ...optionsOf(chosen),
      exits: chosen,
      model: model.parameters,
      objective,
      optimiser,
      teach: plainTeach(model, chosen),
      backend: 'cpu',
      chunk: 20,
    }),
};

/** Relative to the float64 reference; 2e-5 is ten times what PyTorch's own float32 run deviates. */
const tolerance = 2e-5;

beforeAll(async () => {
  await tf.setBackend('cpu');
});

const decays = ['all', 'matrices'] as const;
const all = 20;
const trajectories: Record<'compiled' | 'eager', (readonly [number, string, OptimiserOptions['decay']])[]> = {
  compiled: Object.keys(objectives).flatMap((objective) => decays.map((decay) => [all, objective, decay] as const)),
  eager: [
    [4, 'ce', 'all'],
    [4, 'dynamic', 'matrices'],
    [8, 'kl', 'matrices'],
  ],
};

describe.each(['compiled', 'eager'] as const)('%s', (kind) => {
  const create = steps[kind];

  test.each(exits.map((exit, i) => [golden.exits[i]!, exit] as const))(
    '%s: losses and gradients',
    async (name, exit) => {
      const expected = golden.single[name]!;
      for (const [objective, loss] of [
        ['ce', expected.ce],
        ['dynamic', expected.ce_dynamic],
        ['kl', expected.kl_to_final],
      ] as const) {
        const step = await create([exit], objectives[objective]!, { ...optimiserOf('all'), gradientClip: Infinity });
        const result = await step.update(single, settings);
        expect(relative(result.losses.get(exitId(exit))!, loss)).toBeLessThan(tolerance);
        if (objective === 'ce') {
          expect(
            relative(result.gradientNorms.get(exitId(exit))!, Math.hypot(...Object.values(expected.grad_l2))),
          ).toBeLessThan(tolerance);
          // From a fresh start, the first moment is (1 − β1) times the gradient.
          const { firstMoments } = await step.state();
          expect(firstMoments.size).toBe(Object.keys(expected.grad_l2).length);
          for (const [parameter, norm] of Object.entries(expected.grad_l2)) {
            expect(relative(10 * l2(firstMoments.get(ourName(exit, parameter))!), norm)).toBeLessThan(tolerance);
          }
        }
        await step.dispose();
      }
    },
  );

  test.each(trajectories[kind])('%i updates: %s, decay of %s', async (count, objective, decay) => {
    const expected = golden.trajectory[`${objective}/decay_${decay === 'all' ? 'all' : 'matrices_only'}`]!;
    const step = await create(exits, objectives[objective]!, optimiserOf(decay));
    const worst = { loss: 0, norm: 0, parameter: 0 };
    for (let k = 0; k < count; k++) {
      const { losses, gradientNorms } = await step.update(batch, settings);
      exits.forEach((exit, e) => {
        worst.loss = Math.max(worst.loss, relative(losses.get(exitId(exit))!, expected.loss[k]![e]!));
      });
      worst.norm = Math.max(worst.norm, relative(Math.hypot(...gradientNorms.values()), expected.grad_norm[k]!));
    }
    const { parameters, updates } = await step.state();
    expect(updates).toBe(count);
    for (const [i, exit] of count === all ? exits.entries() : []) {
      for (const [name, norm] of Object.entries(expected.param_l2_after_20[golden.exits[i]!]!)) {
        worst.parameter = Math.max(worst.parameter, relative(l2(parameters.get(ourName(exit, name))!), norm));
      }
    }
    const after = await step.accumulate(batch, settings);
    exits.forEach((exit, e) => {
      worst.loss = Math.max(worst.loss, relative(after.losses.get(exitId(exit))!, expected.loss[count]![e]!));
    });
    expect(worst.loss).toBeLessThan(tolerance);
    expect(worst.norm).toBeLessThan(tolerance);
    expect(worst.parameter).toBeLessThan(tolerance);
    await step.dispose();
  });
});
