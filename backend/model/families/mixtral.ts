/** Mixtral: Mistral with a mixture of experts in every layer. */
import { llamaLike, renamedSource, windowOf, withWindow, type Family } from './family.ts';
import { mixtureOf, separateExperts, withMixture } from './mixture.ts';

export const mixtral: Family = {
  types: ['mixtral'],
  spec: (config) => withMixture(withWindow(config, llamaLike(config, 'mixtral'), windowOf(config)), mixtureOf(config)),
  source: separateExperts(
    'block_sparse_moe',
    { gate_proj: 'w1', up_proj: 'w3', down_proj: 'w2' },
    renamedSource(new Map([['mlp.gate', 'block_sparse_moe.gate']])),
  ),
};
