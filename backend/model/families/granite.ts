/** Granite: Llama with factors on embeddings, branches, scores and logits. */
import { limits, type Config } from './config.ts';
import { huggingFaceSource, llamaLike, type Family } from './family.ts';
import type { ModelSpec } from '../spec.ts';

export const granite: Family = {
  types: ['granite'],
  spec: (config) => llamaLike(config, 'granite', graniteFactors(config)),
  source: huggingFaceSource,
};

export const graniteFactors = (config: Config): Partial<ModelSpec> => ({
  embeddingScale: config.number('embedding_multiplier', limits.scale, 1),
  residualScale: config.number('residual_multiplier', limits.scale, 1),
  attentionScale: config.number('attention_multiplier', limits.scale, 1),
  logitScale: 1 / config.number('logits_scaling', limits.scale, 1),
});
