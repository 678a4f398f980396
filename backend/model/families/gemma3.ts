/** Gemma 3 text: sandwich norms that store gain − 1, q/k norms, five local layers to one global, two rotary bases. */
import { Config, limits } from './config.ts';
import { activation, huggingFaceSource, layerTypes, llamaLike, type Family } from './family.ts';
import { rope } from './rope.ts';

/** Of Transformers' Gemma3TextConfig: if a model has vision, too, its configuration lists for the text part only the differences. */
const defaults = {
  vocab_size: 262_208,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  query_pre_attn_scalar: 256,
  max_position_embeddings: 131_072,
};

export const gemma3: Family = {
  types: ['gemma3_text', 'gemma3'],
  spec: (config) => {
    const { values } = config.object('text_config') ?? config;
    const text = new Config(config.file, { ...defaults, ...values });
    const headDimensions = text.size('head_dim', limits.headDimensions);
    const byType = text.object('rope_parameters');
    const global = rope(text, headDimensions, {
      name: 'rope_global',
      theta: text.number('rope_theta', limits.theta, 1_000_000),
      parameters: byType?.object('full_attention') ?? text.object('rope_scaling'),
    });
    // Local layers are never scaled: an empty parameter set means the default rotation.
    const local = rope(text, headDimensions, {
      name: 'rope_local',
      theta: text.number('rope_local_base_freq', limits.theta, 10_000),
      parameters: byType?.object('sliding_attention') ?? new Config(text.file, {}),
    });
    const spec = llamaLike(text, 'gemma3', {
      norm: { kind: 'rms', epsilon: text.number('rms_norm_eps', limits.epsilon, 1e-6), unitOffset: 1 },
      normPlacement: 'sandwich',
      qkNorm: 'head',
      activation: activation(text, 'hidden_activation', 'gelu_pytorch_tanh'),
      attentionScale: text.number('query_pre_attn_scalar', limits.queryScalar) ** -0.5,
      attentionSoftcap: text.optionalNumber('attn_logit_softcapping', limits.softcap),
      finalSoftcap: text.optionalNumber('final_logit_softcapping', limits.softcap),
      embeddingScale: Math.sqrt(text.size('hidden_size', limits.hidden)),
      tied: text.boolean('tie_word_embeddings', true),
    });
    const types = layerTypes(text, spec.layers.length);
    const pattern = text.size(
      'sliding_window_pattern',
      limits.layers,
      text.size('_sliding_window_pattern', limits.layers, 6),
    );
    const window = text.size('sliding_window', limits.context, 4096);
    const layers = spec.layers.map((_, i) => {
      const isLocal = types ? types[i] === 'sliding_attention' : (i + 1) % pattern !== 0;
      return isLocal ? { rope: local, window } : { rope: global, window: null };
    });
    return { ...spec, layers };
  },
  source: huggingFaceSource,
};
