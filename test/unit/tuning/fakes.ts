/** A backbone, windows and a step small enough to follow by hand. */
import { cutName, cutWidth, type Cut, type ModelSpec } from '../../../backend/model/spec.ts';
import type { FeatureModel } from '../../../backend/runtime/staged-model.ts';
import type { Windows } from '../../../backend/tuning/features.ts';

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
  finalSoftcap: null,
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
