/** Gemma 3 text: sandwich norms that store gain − 1, q/k norms, five local layers to one global, two rotary bases. */
import { activation, huggingFaceSource, llamaLike, rope, Config, type Family } from './family.ts';

export const gemma3: Family = {
  types: ['gemma3_text', 'gemma3'],
  spec: (config) => {
    const text = config.object('text_config') ?? config;
    const headDimensions = text.size('head_dim', 256);
    const byType = text.object('rope_parameters');
    const global = rope(text, headDimensions, {
      name: 'rope_global',
      theta: text.number('rope_theta', 1_000_000),
      parameters: byType?.object('full_attention') ?? text.object('rope_scaling'),
    });
    // Local layers are never scaled: an empty parameter set stands for the default rotation.
    const local = rope(text, headDimensions, {
      name: 'rope_local',
      theta: text.number('rope_local_base_freq', 10_000),
      parameters: byType?.object('sliding_attention') ?? new Config(text.file, {}),
    });
    const spec = llamaLike(text, 'gemma3', {
      norm: { kind: 'rms', epsilon: text.number('rms_norm_eps', 1e-6), unitOffset: 1 },
      normPlacement: 'sandwich',
      qkNorm: 'head',
      activation: activation(text, 'hidden_activation', 'gelu_pytorch_tanh'),
      attentionScale: text.number('query_pre_attn_scalar', headDimensions) ** -0.5,
      attentionSoftcap: text.optionalNumber('attn_logit_softcapping'),
      finalSoftcap: text.optionalNumber('final_logit_softcapping'),
      embeddingScale: Math.sqrt(text.size('hidden_size')),
      tied: text.boolean('tie_word_embeddings', true),
    });
    const types = text.list('layer_types');
    const pattern = text.number('sliding_window_pattern', text.number('_sliding_window_pattern', 6));
    const window = text.size('sliding_window', 4096);
    const layers = spec.layers.map((_, i) => {
      const isLocal = types ? types[i] === 'sliding_attention' : (i + 1) % pattern !== 0;
      return isLocal ? { rope: local, window } : { rope: global, window: null };
    });
    return { ...spec, layers };
  },
  source: huggingFaceSource,
};
