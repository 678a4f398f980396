/** Gemma and Gemma 2: norms that store gain − 1, scaled embeddings; Gemma 2 has sandwich norms, soft caps and a window on every other layer. */
import { limits, type Config } from './config.ts';
import { activation, huggingFaceSource, layerTypes, llamaLike, type Family } from './family.ts';
import type { ModelSpec } from '../spec.ts';

export const gemma: Family = {
  types: ['gemma'],
  spec: (config) => gemmaLike(config, 'gemma'),
  source: huggingFaceSource,
};

export const gemma2: Family = {
  types: ['gemma2'],
  spec: (config) => {
    const spec = gemmaLike(config, 'gemma2', {
      normPlacement: 'sandwich',
      attentionScale: config.number('query_pre_attn_scalar', limits.queryScalar, 256) ** -0.5,
      attentionSoftcap: config.optionalNumber('attn_logit_softcapping', limits.softcap),
      finalSoftcap: config.optionalNumber('final_logit_softcapping', limits.softcap),
    });
    const types = layerTypes(config, spec.layers.length);
    const window = config.size('sliding_window', limits.context, 4096);
    const isLocal = (i: number): boolean => (types ? types[i] === 'sliding_attention' : i % 2 === 0);
    return { ...spec, layers: spec.layers.map((layer, i) => ({ ...layer, window: isLocal(i) ? window : null })) };
  },
  source: huggingFaceSource,
};

function gemmaLike(config: Config, family: string, different: Partial<ModelSpec> = {}): ModelSpec {
  const spec = llamaLike(config, family, {
    norm: { kind: 'rms', epsilon: config.number('rms_norm_eps', limits.epsilon, 1e-6), unitOffset: 1 },
    // The first configs say "gelu" in `hidden_act` and mean the approximation; both keys are there in later ones.
    activation: config.has('hidden_activation')
      ? activation(config, 'hidden_activation', 'gelu_pytorch_tanh')
      : 'gelu_tanh',
    tied: config.boolean('tie_word_embeddings', true),
    ...different,
  });
  return { ...spec, embeddingScale: Math.sqrt(spec.hidden) };
}
