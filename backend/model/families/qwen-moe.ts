/** Qwen's mixtures of experts: Qwen 2's with a shared expert, Qwen 3's without; some layers may be dense. */
import { limits, type Config } from './config.ts';
import { llamaLike, type Family } from './family.ts';
import { qwenWindow } from './llama.ts';
import { mixtureOf, separateExperts, withMixture } from './mixture.ts';
import type { MixtureSpec, ModelSpec } from '../spec.ts';

const source = separateExperts('mlp', { gate_proj: 'gate_proj', up_proj: 'up_proj', down_proj: 'down_proj' });

export const qwen2Moe: Family = {
  types: ['qwen2_moe'],
  spec: (config) =>
    qwenMixture(config, llamaLike(config, 'qwen2_moe'), {
      shared: config.size('shared_expert_intermediate_size', limits.feedForward),
    }),
  source,
};

export const qwen3Moe: Family = {
  types: ['qwen3_moe'],
  spec: (config) => qwenMixture(config, llamaLike(config, 'qwen3_moe', { qkNorm: 'head' }), {}),
  source,
};

function qwenMixture(config: Config, spec: ModelSpec, different: Partial<MixtureSpec>): ModelSpec {
  const step = config.size('decoder_sparse_step', limits.layers, 1);
  const dense = new Set(config.wholes('mlp_only_layers', [0, spec.layers.length - 1]));
  const mixture = mixtureOf(config, {
    feedForward: config.size('moe_intermediate_size', limits.feedForward),
    normalised: config.boolean('norm_topk_prob', false),
    ...different,
  });
  return withMixture(qwenWindow(config, spec, 0), mixture, (i) => !dense.has(i) && (i + 1) % step === 0);
}
