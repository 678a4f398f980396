/** StarCoder 2: LayerNorm, a plain MLP, biases everywhere, a window on every layer. */
import { limits } from './config.ts';
import { activation, llamaLike, renamedSource, windowOf, withWindow, type Family } from './family.ts';

export const starcoder2: Family = {
  types: ['starcoder2'],
  spec: (config) => {
    const spec = llamaLike(config, 'starcoder2', {
      norm: { kind: 'layer', epsilon: config.number('norm_epsilon', limits.epsilon, 1e-5), unitOffset: 0 },
      mlp: 'plain',
      activation: activation(config, 'hidden_act', 'gelu_pytorch_tanh'),
      tied: config.boolean('tie_word_embeddings', true),
    });
    return withWindow(config, spec, windowOf(config));
  },
  source: renamedSource(
    new Map([
      ['mlp.up_proj', 'mlp.c_fc'],
      ['mlp.down_proj', 'mlp.c_proj'],
    ]),
  ),
};
