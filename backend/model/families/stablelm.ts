/** StableLM 2: LayerNorm, part of each head rotates; larger ones share one norm in a parallel layer and norm each head separately. */
import { limits } from './config.ts';
import { huggingFaceSource, llamaLike, type Family } from './family.ts';
import { rope } from './rope.ts';

export const stablelm: Family = {
  types: ['stablelm'],
  spec: (config) => {
    const spec = llamaLike(config, 'stablelm', {
      norm: { kind: 'layer', epsilon: config.number('layer_norm_eps', limits.epsilon, 1e-5), unitOffset: 0 },
      parallelResidual: config.boolean('use_parallel_residual', false),
      qkNorm: config.boolean('qk_layernorm', false) ? 'heads' : 'none',
    });
    const share = config.number('partial_rotary_factor', limits.rotaryShare, 0.25);
    const rotation = rope(config, spec.headDimensions, { share });
    return { ...spec, layers: spec.layers.map((layer) => ({ ...layer, rope: rotation })) };
  },
  source: (parameter, spec) => {
    const [, path, which, kind] = /^(.*self_attn)\.([qk])_norm\.(weight|bias)$/.exec(parameter) ?? [];
    if (path !== undefined) {
      const heads = which === 'q' ? spec.heads : spec.kvHeads;
      const pieces = Array.from({ length: heads }, (_, h) => `model.${path}.${which}_layernorm.norms.${h}.${kind}`);
      return { tensor: pieces[0]!, pieces };
    }
    const isShared = spec.parallelResidual && parameter.includes('post_attention_layernorm');
    return huggingFaceSource(isShared ? parameter.replace('post_attention_layernorm', 'input_layernorm') : parameter);
  },
};
