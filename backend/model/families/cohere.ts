/** Command R: one LayerNorm without bias before attention and MLP, which run in parallel; neighbours rotate; scaled logits. */
import { limits } from './config.ts';
import { huggingFaceSource, layerParameter, llamaLike, pairedRows, rotatedHeads, type Family } from './family.ts';

export const cohere: Family = {
  types: ['cohere'],
  spec: (config) =>
    llamaLike(config, 'cohere', {
      norm: { kind: 'layer', epsilon: config.number('layer_norm_eps', limits.epsilon, 1e-5), unitOffset: 0 },
      parallelResidual: true,
      qkNorm: config.boolean('use_qk_norm', false) ? 'heads' : 'none',
      logitScale: config.number('logit_scale', limits.scale, 0.0625),
      tied: config.boolean('tie_word_embeddings', true),
    }),
  source: (parameter, spec) => {
    const found = huggingFaceSource(parameter.replace('post_attention_layernorm', 'input_layernorm'));
    const module = layerParameter(parameter)?.module ?? '';
    const heads = rotatedHeads(module, spec);
    return {
      ...found,
      ...(heads > 0 && { rows: pairedRows(heads, spec.headDimensions) }),
      ...(/_norm$/.test(module) && heads > 0 && { pieces: [found.tensor] }),
    };
  },
};
