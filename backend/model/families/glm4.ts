/** GLM 4: sandwich norms with names of their own; neighbours in part of each head rotate; gate and up are one tensor. */
import {
  fusedSource,
  layerParameter,
  llamaLike,
  pairedRows,
  renamedSource,
  rotatedHeads,
  type Family,
} from './family.ts';
import { limits } from './config.ts';
import { rope } from './rope.ts';

const names = renamedSource(
  new Map([
    ['post_attention_layernorm', 'post_self_attn_layernorm'],
    ['pre_feedforward_layernorm', 'post_attention_layernorm'],
    ['post_feedforward_layernorm', 'post_mlp_layernorm'],
  ]),
);

export const glm4: Family = {
  types: ['glm4'],
  spec: (config) => {
    const spec = llamaLike(config, 'glm4', { normPlacement: 'sandwich' });
    const share = config.number('partial_rotary_factor', limits.rotaryShare, 0.5);
    const rotation = rope(config, spec.headDimensions, { share });
    return { ...spec, layers: spec.layers.map((layer) => ({ ...layer, rope: rotation })) };
  },
  source: (parameter, spec) => {
    const module = layerParameter(parameter)?.module ?? '';
    const heads = rotatedHeads(module, spec);
    if (heads > 0)
      return { ...names(parameter), rows: pairedRows(heads, spec.headDimensions, spec.layers[0]!.rope!.dimensions) };
    return module.startsWith('mlp.') ? fusedSource(parameter, spec, names, null, 'mlp.gate_up_proj') : names(parameter);
  },
};
