/** Granite: Llama with factors on embeddings, branches, scores and logits; and with a mixture of experts. */
import { limits, type Config } from './config.ts';
import { huggingFaceSource, llamaLike, type Family } from './family.ts';
import { expertParameter, gateUpRows, mixtureOf, withMixture } from './mixture.ts';
import type { ModelSpec } from '../spec.ts';

export const granite: Family = {
  types: ['granite'],
  spec: (config) => llamaLike(config, 'granite', graniteFactors(config)),
  source: huggingFaceSource,
};

/** Gates and ups of all experts are one tensor, downs another. */
export const graniteMoe: Family = {
  types: ['granitemoe'],
  spec: (config) => withMixture(llamaLike(config, 'granitemoe', graniteFactors(config)), mixtureOf(config)),
  source(parameter, spec) {
    const expert = expertParameter(parameter, spec);
    if (!expert) return huggingFaceSource(parameter.replace('.mlp.gate.', '.block_sparse_moe.router.layer.'));
    const { layer, module, kind, mixture } = expert;
    const linear = module === 'down_proj' ? 'output_linear' : 'input_linear';
    return {
      tensor: `model.layers.${layer}.block_sparse_moe.${linear}.${kind}`,
      ...(module !== 'down_proj' && gateUpRows(mixture, module)),
    };
  },
};

const graniteFactors = (config: Config): Partial<ModelSpec> => ({
  embeddingScale: config.number('embedding_multiplier', limits.scale, 1),
  residualScale: config.number('residual_multiplier', limits.scale, 1),
  attentionScale: config.number('attention_multiplier', limits.scale, 1),
  logitScale: 1 / config.number('logits_scaling', limits.scale, 1),
});
