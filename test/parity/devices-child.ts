/**
 * Runs on a device in a process of its own, because a graphics driver is found by the environment that a process starts
 * with. Prints one line of JSON: answers to the questions it was asked, as the numbers that the test checks.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { openTensorFlowBackend, openWebgpuBackend } from '../../backend/autodiff/backends.ts';
import { initialiseExit } from '../../backend/exits/initialise.ts';
import { exitCut, exitId, exitPath, type ExitArchitecture, type ExitSpec } from '../../backend/exits/spec.ts';
import type { BuiltGraph } from '../../backend/onnx/builder.ts';
import { openModel } from '../../backend/model/open.ts';
import { compareCuts, cutName, finalCut, inputCut, type Cut } from '../../backend/model/spec.ts';
import { noExits, openExitScorer, openFeatureModel, openStagedModel } from '../../backend/runtime/open.ts';
import { featureGraph, readoutGraph, scoringGraph, stageGraph } from '../../backend/runtime/stage-graphs.ts';
import { createEagerStep } from '../../backend/tuning/step.ts';
import type { StepBatch } from '../../backend/features/features.ts';
import { confidenceAt, decodeAll, finalLogits, plainRequest } from '../support/decoding.ts';
import { isMixture } from '../support/engines.ts';
import { fixtures, maxDifference, readGolden } from '../support/golden.ts';
import { copiedExits, tinyModel } from '../support/models.ts';

export interface Answers {
  /** Largest difference of any logit from the reference, by model. */
  readonly logits: Record<string, number>;
  /** Graphs of which ONNX Runtime would run some node on the CPU, by name, with what it says. */
  readonly offDevice: Record<string, string>;
  readonly decoding: {
    /** Ids of each sequence with their exit layers, by provider. */
    readonly cpu: string[][];
    readonly webgpu: string[][];
    /** Of any candidate's probability. */
    readonly confidence: number;
  };
  /** Largest difference of any loss from the CPU's, by exit. */
  readonly scores: Record<string, number>;
  /** Largest relative difference from the reference over some updates; of parameters, after all 20. */
  readonly trajectory: { readonly loss: number; readonly norm: number; readonly parameter: number };
}

const webgpu = { arithmetic: 'float32', provider: 'webgpu' } as const;
const goldenModels = [
  ...readdirSync(join(fixtures, 'tiny'))
    .filter((name) => !isMixture(name))
    .map((name) => ({ path: join('tiny', name), golden: join('tiny', name, 'golden.json') })),
  ...readdirSync(join(fixtures, 'gguf'))
    .filter((name) => name.endsWith('.gguf') && !isMixture(name))
    .map((name) => ({ path: join('gguf', name), golden: join('gguf', name.replace('.gguf', '.golden.json')) })),
];
const variedExits: ExitSpec[] = [
  { layer: 1, architecture: 'lens', head: { kind: 'shared' } },
  { layer: 2, architecture: 'mlp', head: { kind: 'own' } },
  { layer: 3, architecture: 'layer', head: { kind: 'shortlist', tokens: [3, 7, 12, 20, 33, 40] } },
];

const questions: { [Name in keyof Answers]: (...words: string[]) => Promise<Answers[Name]> } = {
  async logits() {
    const worst: Record<string, number> = {};
    // Models stay open: the device's compiled programs live as long as any session.
    for (const { path, golden } of goldenModels) {
      const { ids, logits: expected } = readGolden<{ ids: number[]; logits: number[][] }>(golden);
      const staged = await openStagedModel(openModel(join(fixtures, path)), noExits, webgpu);
      worst[path] = maxDifference(await finalLogits(staged, ids), expected.flat());
    }
    return worst;
  },

  async offDevice() {
    const refused: Record<string, string> = {};
    const session = { disable_cpu_ep_fallback: '1' };
    const check = async (name: string, { bytes, externalData }: BuiltGraph): Promise<void> => {
      const options = {
        executionProviders: ['webgpu'],
        logSeverityLevel: 4,
        externalData,
        extra: { session },
      } as const;
      await ort.InferenceSession.create(bytes, options).catch((error: unknown) => (refused[name] = String(error)));
    };
    for (const { path } of goldenModels) {
      const { spec, parameters } = openModel(join(fixtures, path));
      const last = finalCut(spec);
      for (const arithmetic of ['float32', 'int8'] as const) {
        const target = { ...webgpu, arithmetic };
        const name = `${path} ${arithmetic}`;
        await check(`${name} stage`, stageGraph(spec, parameters, inputCut, last, target).graph);
        await check(`${name} features`, featureGraph(spec, parameters, [last], target));
        await check(`${name} scoring`, scoringGraph(spec, parameters, null, target));
        await check(`${name} readout`, readoutGraph(spec, parameters, null, target));
      }
    }
    return refused;
  },

  async decoding() {
    const model = tinyModel();
    const exits = copiedExits(model, variedExits);
    const request = plainRequest(
      [
        [5, 9, 2, 14],
        [7, 3],
      ],
      12,
      { policy: confidenceAt(0.1), candidates: 3 },
    );
    const run = async (provider: 'cpu' | 'webgpu'): Promise<Awaited<ReturnType<typeof decodeAll>>> =>
      decodeAll(await openStagedModel(model, exits, { provider }), request);
    const [cpu, gpu] = [await run('cpu'), await run('webgpu')];
    const ids = ({ tokens }: typeof cpu): string[][] =>
      tokens.map((row) => row.map(({ id, layer }) => `${id}@${layer}`));
    const probabilities = ({ tokens }: typeof cpu): number[] => tokens.flat().map(({ confidence }) => confidence);
    return { cpu: ids(cpu), webgpu: ids(gpu), confidence: maxDifference(probabilities(cpu), probabilities(gpu)) };
  },

  async scores() {
    const model = tinyModel();
    const exits = copiedExits(model, variedExits);
    const ids = Int32Array.from({ length: 24 }, (_, i) => (i * 37) % model.spec.vocabulary);
    const worst: Record<string, number> = {};
    for (const exit of [...variedExits, null]) {
      const features = await openFeatureModel(model, [exit ? exitCut(exit) : finalCut(model.spec)], webgpu);
      const [stream] = await features.features(ids, 2, 12);
      const targets = exit?.head.kind === 'shortlist' ? ids.map((id) => id % 7) : ids;
      const losses: Float32Array[] = [];
      for (const provider of ['cpu', 'webgpu'] as const) {
        const scorer = await openExitScorer(model, exit, exits.parameters, { provider });
        losses.push((await scorer.score(stream!, targets, 2, 12)).loss);
      }
      worst[exit ? exitId(exit) : 'final'] = maxDifference(losses[0]!, losses[1]!);
    }
    return worst;
  },

  /** `webgpu` or the module of a TensorFlow, and how many of the 20 updates. */
  async trajectory(on = '', updates = '20') {
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
  },
};

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

const [asked, ...words] = process.argv.slice(2) as [string, ...string[]];
const answers: Record<string, unknown> = {};
for (const name of asked.split(',') as (keyof Answers)[]) answers[name] = await questions[name](...words);
process.stdout.write(`${JSON.stringify(answers)}\n`, () => {
  // After a trajectory the process must end by itself: the device has been given back.
  if (!('trajectory' in answers)) process.exit(0);
});
