/** A backbone, windows and a step small enough to follow by hand. */
import type { ExitScore } from '../../../protocol/events.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { cutName, cutWidth, type Cut, type ModelSpec } from '../../../backend/model/spec.ts';
import type { FeatureModel } from '../../../backend/runtime/staged-model.ts';
import type { StepState } from '../../../backend/checkpoint/checkpoint.ts';
import type { StepResult, TuningStep } from '../../../backend/tuning/step/types.ts';
import type { Windows } from '../../../backend/features/features.ts';

export const tinySpec: ModelSpec = {
  family: 'llama',
  vocabulary: 16,
  hidden: 4,
  heads: 1,
  kvHeads: 1,
  headDimensions: 4,
  feedForward: 8,
  contextLength: 64,
  layers: Array.from({ length: 4 }, () => ({ rope: null, window: null })),
  norm: { kind: 'rms', epsilon: 1e-5, unitOffset: 0 },
  normPlacement: 'pre',
  parallelResidual: false,
  mlp: 'gated',
  activation: 'silu',
  qkNorm: 'none',
  attentionScale: 0.5,
  attentionSoftcap: null,
  attentionSinks: false,
  finalSoftcap: null,
  residualScale: 1,
  logitScale: 1,
  embeddingScale: 1,
  learnedPositions: false,
  tied: true,
};

/** Every value depends on the id, its place, the cut and the axis; it counts its calls. */
export function fakeModel(cuts: readonly Cut[], spec = tinySpec): FeatureModel & { calls(): number } {
  let calls = 0;
  return {
    spec,
    cuts,
    calls: () => calls,
    async features(ids, batch, tokens) {
      calls++;
      return cuts.map((cut) => {
        const width = cutWidth(spec, cut);
        const values = new Float32Array(batch * tokens * width);
        for (let i = 0; i < batch * tokens; i++) {
          for (let j = 0; j < width; j++) {
            values[i * width + j] = Math.sin(ids[i]! * 1.7 + (i % tokens) * 0.3 + j + cut.layer + cutName(cut).length);
          }
        }
        return values;
      });
    },
    dispose: async () => {},
  };
}

/** Window w holds the ids w, w + 1, … modulo the vocabulary. */
export function fakeWindows(count: number, tokens: number, hash = 'windows'): Windows {
  const id = (n: number): number => n % tinySpec.vocabulary;
  return {
    count,
    tokens,
    hash,
    window: (w) => ({
      ids: Int32Array.from({ length: tokens }, (_, i) => id(w + i)),
      targets: Int32Array.from({ length: tokens }, (_, i) => (i + 1 < tokens ? id(w + i + 1) : -1)),
    }),
  };
}

export const fakeExits: readonly ExitSpec[] = [{ layer: 2, architecture: 'norm', head: { kind: 'shared' } }];
export const fakeParameter = 'exits.2.norm.norm.weight';

/**
 * One exit whose loss is the squared distance of its parameter `[4]` from the mean state; momentum stands for AdamW. It
 * remembers the batches' first targets and the settings it was given.
 */
export function fakeStep(): TuningStep & { readonly seen: number[]; readonly rates: number[] } {
  let parameters = new Float32Array(4);
  let first = new Float32Array(4);
  let second = new Float32Array(4);
  let gradient = new Float32Array(4);
  let updates = 0;
  const seen: number[] = [];
  const rates: number[] = [];

  const pass = (features: Float32Array): StepResult => {
    const mean = new Float32Array(4);
    features.forEach((value, i) => (mean[i % 4]! += (4 * value) / features.length));
    let loss = 0;
    for (let i = 0; i < 4; i++) {
      loss += (parameters[i]! - mean[i]!) ** 2;
      gradient[i]! += 2 * (parameters[i]! - mean[i]!);
    }
    const norm = Math.hypot(...gradient);
    const losses = new Map([['2:norm', loss]]);
    return { losses, crossEntropies: losses, gaps: new Map(), gradientNorms: new Map([['2:norm', norm]]) };
  };

  return {
    seen,
    rates,
    async accumulate(batch) {
      for (let row = 0; row < batch.batch; row++) seen.push(batch.targets[row * batch.tokens]!);
      return pass(batch.features.get('2.end')!);
    },
    async update(batch, settings) {
      const result = await this.accumulate(batch, settings);
      rates.push(settings.learningRate);
      for (let i = 0; i < 4; i++) {
        first[i] = 0.9 * first[i]! + gradient[i]!;
        second[i] = 0.99 * second[i]! + gradient[i]! ** 2;
        parameters[i]! -= (settings.learningRate * first[i]!) / (1 + Math.sqrt(second[i]!));
      }
      gradient = new Float32Array(4);
      updates++;
      return result;
    },
    async state(): Promise<StepState> {
      const one = (values: Float32Array): Map<string, Float32Array> => new Map([[fakeParameter, values.slice()]]);
      return { updates, parameters: one(parameters), firstMoments: one(first), secondMoments: one(second) };
    },
    async restore(state) {
      updates = state.updates;
      parameters = state.parameters.get(fakeParameter)!.slice();
      first = state.firstMoments.get(fakeParameter)!.slice();
      second = state.secondMoments.get(fakeParameter)!.slice();
      gradient = new Float32Array(4);
    },
    dispose: async () => {},
  };
}

/** Loss: the sum of the parameter's distances from `target`. */
export const fakeEvaluate =
  (target: number) =>
  async (parameters: ReadonlyMap<string, Float32Array>): Promise<ExitScore[]> => {
    const loss = [...parameters.get(fakeParameter)!].reduce((sum, value) => sum + Math.abs(value - target), 0);
    const score = { loss, perplexity: Math.exp(loss), accuracy: 0, agreement: 0 };
    return [
      { exit: '2:norm', layer: 2, ...score },
      { exit: 'final', layer: 4, ...score, loss: 0, perplexity: 1 },
    ];
  };
