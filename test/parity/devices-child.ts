/**
 * The tuning step on a device, in a process of its own, because a graphics driver is found by the environment that a process
 * starts with. Prints one line of JSON, the numbers that the test checks.
 */
import { openTensorFlowBackend, openWebgpuBackend } from '../../backend/autodiff/backends.ts';
import { initialiseExit } from '../../backend/exits/initialise.ts';
import { exitCut } from '../../backend/exits/architectures.ts';
import { exitId, exitPath, type ExitArchitecture, type ExitSpec } from '../../backend/exits/spec.ts';
import type { StepBatch } from '../../backend/features/features.ts';
import { compareCuts, cutName, type Cut } from '../../backend/model/spec.ts';
import { openFeatureModel } from '../../backend/runtime/open.ts';
import { createEagerStep } from '../../backend/tuning/step/step.ts';
import { readGolden } from '../support/golden.ts';
import { tinyModel } from '../support/models.ts';
import { noTeach } from '../support/teacher.ts';

export interface Answer {
  /** Largest relative difference from the reference over some updates; of parameters, after all 20. */
  readonly loss: number;
  readonly norm: number;
  readonly parameter: number;
}

/** `webgpu` or the module of a TensorFlow, and how many of the 20 updates. */
async function trajectory(on: string, updates: string): Promise<Answer> {
  const backend = on === 'webgpu' ? await openWebgpuBackend() : await openTensorFlowBackend(on);
  const golden = readGolden<{
    exits: string[];
    batch_ids: number[][];
    trajectory: Record<
      string,
      { loss: number[][]; grad_norm: number[]; param_l2_after_20: Record<string, Record<string, number>> }
    >;
  }>('exits', 'llama-untied.json');
  const model = tinyModel();
  const exits = golden.exits.map((name): ExitSpec => {
    const [architecture, layer] = name.split('@') as [ExitArchitecture, string];
    return { layer: Number(layer), architecture, head: { kind: 'own' } };
  });
  const initial = new Map(
    exits.flatMap((exit) => [...initialiseExit(model.spec, exit, model.parameters, { kind: 'copy' })]),
  );
  const batch = await featuresOf(golden.batch_ids, exits.map(exitCut));
  const step = await createEagerStep({
    spec: model.spec,
    exits,
    initial,
    model: model.parameters,
    objective: { crossEntropy: 1, distillation: 0, weighting: 'uniform' },
    teach: noTeach,
    optimiser: {
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-5,
      weightDecay: 0.01,
      decay: 'all',
      gradientClip: 1,
      clip: 'joint',
    },
    backend: backend.name,
    chunk: 20,
  });
  const settings = { learningRate: 1e-3, exitWeights: new Map(exits.map((exit) => [exitId(exit), 1])) };
  const expected = golden.trajectory['ce/decay_all']!;
  const worst = { loss: 0, norm: 0, parameter: 0 };
  for (let k = 0; k < Number(updates); k++) {
    const { losses, gradientNorms } = await step.update(batch, settings);
    for (const [e, exit] of exits.entries()) {
      worst.loss = Math.max(worst.loss, relative(losses.get(exitId(exit))!, expected.loss[k]![e]!));
    }
    worst.norm = Math.max(worst.norm, relative(Math.hypot(...gradientNorms.values()), expected.grad_norm[k]!));
  }
  const { parameters } = await step.state();
  for (const [e, exit] of updates === '20' ? exits.entries() : []) {
    for (const [name, norm] of Object.entries(expected.param_l2_after_20[golden.exits[e]!]!)) {
      const values = parameters.get(`${exitPath(exit)}.${name.replace(/^block\./, 'layer.')}`)!;
      worst.parameter = Math.max(worst.parameter, relative(Math.hypot(...values), norm));
    }
  }
  await step.dispose();
  backend.dispose();
  return worst;
}

async function featuresOf(ids: number[][], cuts: Cut[]): Promise<StepBatch> {
  const tokens = ids[0]!.length;
  const distinct = [...new Map(cuts.map((cut) => [cutName(cut), cut])).values()].sort(compareCuts);
  const features = await openFeatureModel(tinyModel(), distinct);
  const streams = await features.features(Int32Array.from(ids.flat()), ids.length, tokens);
  return {
    batch: ids.length,
    tokens,
    features: new Map(distinct.map((cut, i) => [cutName(cut), streams[i]!])),
    targets: Int32Array.from(ids.flatMap((row) => [...row.slice(1), -1])),
    final: null,
  };
}

const relative = (value: number, reference: number): number =>
  Math.abs(value - reference) / Math.max(1e-2, Math.abs(reference));

const [on, updates = '20'] = process.argv.slice(2) as [string, string?];
const answer = await trajectory(on, updates);
// The process must end by itself: the device has been given back.
process.stdout.write(`${JSON.stringify(answer)}\n`);
