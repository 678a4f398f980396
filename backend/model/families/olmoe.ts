/** OLMoE: norms over all queries and keys together, and a mixture of experts with weights that need not sum to 1. */
import { llamaLike, type Family } from './family.ts';
import { mixtureOf, separateExperts, withMixture } from './mixture.ts';
import { userError } from '../../../protocol/errors.ts';

export const olmoe: Family = {
  types: ['olmoe'],
  spec: (config) => {
    if (config.has('clip_qkv'))
      throw userError(
        'unsupported',
        `${config.file}: queries, keys and values that are cut off ("clip_qkv") are not supported.`,
        'Take an OLMoE whose "clip_qkv" is null, as those that were published are.',
      );
    const normalised = config.boolean('norm_topk_prob', false);
    return withMixture(llamaLike(config, 'olmoe', { qkNorm: 'all' }), mixtureOf(config, { normalised }));
  },
  source: separateExperts('mlp', { gate_proj: 'gate_proj', up_proj: 'up_proj', down_proj: 'down_proj' }),
};
