/** gpt-oss: biases everywhere, sinks, a window on every other layer, and experts with clipped gates. */
import { limits } from './config.ts';
import { huggingFaceSource, layerParameter, layerTypes, llamaLike, type Family } from './family.ts';
import { expertParameter, gateUpRows, mixtureOf, withMixture } from './mixture.ts';

export const gptOss: Family = {
  types: ['gpt_oss'],
  spec: (config) => {
    const spec = llamaLike(config, 'gpt_oss', { attentionSinks: true });
    const types = layerTypes(config, spec.layers.length);
    const window = config.size('sliding_window', limits.context, 128);
    const isLocal = (i: number): boolean => (types ? types[i] === 'sliding_attention' : i % 2 === 0);
    const layers = spec.layers.map((layer, i) => ({ ...layer, window: isLocal(i) ? window : null }));
    const limit = config.number('swiglu_limit', limits.softcap, 7);
    return withMixture({ ...spec, layers }, mixtureOf(config, { limit }));
  },
  source(parameter, spec) {
    const expert = expertParameter(parameter, spec);
    if (expert) {
      const { layer, module, kind, mixture } = expert;
      const isWeight = kind === 'weight';
      const stem = `model.layers.${layer}.mlp.experts`;
      return {
        tensor: `${stem}.${module === 'down_proj' ? 'down_proj' : 'gate_up_proj'}${isWeight ? '' : '_bias'}`,
        transposed: isWeight,
        ...(module !== 'down_proj' && gateUpRows(mixture, module, true)),
      };
    }
    if (layerParameter(parameter)?.module === 'self_attn.sinks')
      return huggingFaceSource(parameter.replace(/\.weight$/, ''));
    return huggingFaceSource(parameter.replace('.mlp.gate.', '.mlp.router.'));
  },
};
