/** Ministral 3: Llama with queries that grow with their position, so that long contexts stay sharp; and Mistral's models with vision. */
import type { ModelSpec } from '../spec.ts';
import { limits, type Config } from './config.ts';
import { huggingFaceSource, llamaLike, windowOf, withWindow, type Family } from './family.ts';
import { mistral } from './llama.ts';
import { unknownFamily } from './unknown.ts';

export const ministral3: Family = {
  types: ['ministral3', 'mistral3'],
  spec: (config) => {
    // A model with vision is a mistral3, whatever the family of its language part: Mistral Small 3.1 is a mistral there.
    const text = config.object('text_config') ?? config;
    const type = text.text('model_type', 'mistral');
    if (type === 'ministral3') return textSpec(text);
    if (type === 'mistral') return mistral.spec(text);
    throw unknownFamily(config.file, 'model type of the language part', type, text.keys(), ['ministral3', 'mistral']);
  },
  source: huggingFaceSource,
};

function textSpec(config: Config): ModelSpec {
  const spec = withWindow(config, llamaLike(config, 'ministral3'), windowOf(config));
  const parameters = config.object('rope_parameters') ?? config;
  const beta = parameters.optionalNumber('llama_4_scaling_beta', [0, limits.scale[1]]);
  if (!beta) return spec;
  const original = parameters.size('original_max_position_embeddings', limits.context);
  const layers = spec.layers.map((layer) => ({
    ...layer,
    ...(layer.rope && { queryRope: { ...layer.rope, name: `${layer.rope.name}_query`, growth: { beta, original } } }),
  }));
  return { ...spec, layers };
}
