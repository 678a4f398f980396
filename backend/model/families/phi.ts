/** Phi 1 and 2: one LayerNorm before attention and a plain MLP in parallel; biases everywhere, on the output matrix too. */
import { limits } from './config.ts';
import { activation, llamaLike, renamedSource, type Family } from './family.ts';
import { rope } from './rope.ts';

export const phi: Family = {
  types: ['phi'],
  spec: (config) => {
    const spec = llamaLike(config, 'phi', {
      norm: { kind: 'layer', epsilon: config.number('layer_norm_eps', limits.epsilon, 1e-5), unitOffset: 0 },
      mlp: 'plain',
      activation: activation(config, 'hidden_act', 'gelu_new'),
      parallelResidual: true,
      qkNorm: config.boolean('qk_layernorm', false) ? 'head' : 'none',
    });
    const share = config.number('partial_rotary_factor', limits.rotaryShare, 0.5);
    const rotation = rope(config, spec.headDimensions, { share });
    return { ...spec, layers: spec.layers.map((layer) => ({ ...layer, rope: rotation })) };
  },
  source: renamedSource(
    new Map([
      ['post_attention_layernorm', 'input_layernorm'],
      ['self_attn.q_norm', 'self_attn.q_layernorm'],
      ['self_attn.k_norm', 'self_attn.k_layernorm'],
      ['self_attn.o_proj', 'self_attn.dense'],
      ['mlp.up_proj', 'mlp.fc1'],
      ['mlp.down_proj', 'mlp.fc2'],
      ['norm', 'final_layernorm'],
    ]),
  ),
};
