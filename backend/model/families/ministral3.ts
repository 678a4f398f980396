/** Ministral 3: Llama with queries that grow with their position, so that long contexts stay sharp. */
import { limits } from './config.ts';
import { huggingFaceSource, llamaLike, windowOf, withWindow, type Family } from './family.ts';

export const ministral3: Family = {
  types: ['ministral3'],
  spec: (config) => {
    const text = config.object('text_config') ?? config;
    const spec = withWindow(text, llamaLike(text, 'ministral3'), windowOf(text));
    const parameters = text.object('rope_parameters') ?? text;
    const beta = parameters.optionalNumber('llama_4_scaling_beta', [0, limits.scale[1]]);
    if (!beta) return spec;
    const original = parameters.size('original_max_position_embeddings', limits.context);
    const layers = spec.layers.map((layer) => ({
      ...layer,
      ...(layer.rope && { queryRope: { ...layer.rope, name: `${layer.rope.name}_query`, growth: { beta, original } } }),
    }));
    return { ...spec, layers };
  },
  source: huggingFaceSource,
};
