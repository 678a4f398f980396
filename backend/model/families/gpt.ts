/** GPT-2 and GPT-NeoX (Pythia): LayerNorm, plain MLP, biases everywhere. */
import { Config, limits } from './config.ts';
import { activation, layerParameter, llamaLike, rowRange, type Family, type ParameterSource } from './family.ts';
import { rope } from './rope.ts';
import type { ModelSpec, NormSpec } from '../spec.ts';
import { userError } from '../../../protocol/errors.ts';

const layerNorm = (config: Config, key: string): NormSpec => ({
  kind: 'layer',
  epsilon: config.number(key, limits.epsilon, 1e-5),
  unitOffset: 0,
});

/** Conv1D weights are stored `[in, out]`; q, k, v in one of them. Learned positions, no rotation. */
export const gpt2: Family = {
  types: ['gpt2'],
  spec: (config) => {
    if (config.boolean('scale_attn_by_inverse_layer_idx', false))
      throw userError(
        'unsupported',
        `${config.file}: attention that is weaker from layer to layer ("scale_attn_by_inverse_layer_idx") is not supported.`,
        'Take a GPT-2 that was trained without it, as OpenAI’s were.',
      );
    const hidden = config.size('n_embd', limits.hidden);
    const context = config.size('n_positions', limits.context, 1024);
    const inner = config.optionalSize('n_inner', limits.feedForward) ?? 4 * hidden;
    const words: Record<string, unknown> = {
      ...config.values,
      hidden_size: hidden,
      num_attention_heads: config.size('n_head', limits.heads),
      num_hidden_layers: config.size('n_layer', limits.layers),
      intermediate_size: inner,
      max_position_embeddings: context,
      hidden_act: config.text('activation_function', 'gelu_new'),
    };
    const spec = llamaLike(new Config(config.file, words), 'gpt2', {
      norm: layerNorm(config, 'layer_norm_epsilon'),
      mlp: 'plain',
      learnedPositions: true,
      tied: config.boolean('tie_word_embeddings', true),
    });
    return {
      ...spec,
      attentionScale: config.boolean('scale_attn_weights', true) ? spec.attentionScale : 1,
      layers: spec.layers.map(() => ({ rope: null, window: null })),
    };
  },
  source: (parameter, spec) => {
    const part = layerParameter(parameter);
    if (!part) {
      const top: Record<string, string> = {
        'embed_tokens.weight': 'wte.weight',
        'embed_positions.weight': 'wpe.weight',
        'norm.weight': 'ln_f.weight',
        'norm.bias': 'ln_f.bias',
      };
      const tensor = top[parameter];
      return tensor ? { tensor: `transformer.${tensor}`, aliases: [tensor] } : { tensor: parameter };
    }
    const transposed = part.kind === 'weight';
    const modules: Record<string, ParameterSource> = {
      input_layernorm: { tensor: 'ln_1' },
      post_attention_layernorm: { tensor: 'ln_2' },
      'self_attn.q_proj': { tensor: 'attn.c_attn', rows: rowRange(0, spec.hidden), transposed },
      'self_attn.k_proj': { tensor: 'attn.c_attn', rows: rowRange(spec.hidden, spec.hidden), transposed },
      'self_attn.v_proj': { tensor: 'attn.c_attn', rows: rowRange(2 * spec.hidden, spec.hidden), transposed },
      'self_attn.o_proj': { tensor: 'attn.c_proj', transposed },
      'mlp.up_proj': { tensor: 'mlp.c_fc', transposed },
      'mlp.down_proj': { tensor: 'mlp.c_proj', transposed },
    };
    const source = modules[part.module];
    if (!source) return null;
    const tensor = `h.${part.layer}.${source.tensor}.${part.kind}`;
    return { ...source, tensor: `transformer.${tensor}`, aliases: [tensor] };
  },
};

/** q, k, v are interleaved head by head; attention and MLP usually run in parallel; part of each head rotates. */
export const gptNeoX: Family = {
  types: ['gpt_neox'],
  spec: (config) => {
    const spec = llamaLike(config, 'gpt_neox', {
      norm: layerNorm(config, 'layer_norm_eps'),
      mlp: 'plain',
      activation: activation(config, 'hidden_act', 'gelu'),
      parallelResidual: config.boolean('use_parallel_residual', true),
    });
    const rotation = rope(config, spec.headDimensions, {
      theta: config.number('rotary_emb_base', limits.theta, config.number('rope_theta', limits.theta, 10000)),
      share: config.number('rotary_pct', limits.rotaryShare, 0.25),
    });
    return { ...spec, layers: spec.layers.map(() => ({ rope: rotation, window: null })) };
  },
  source: (parameter, spec) => {
    const part = layerParameter(parameter);
    if (!part) {
      const top: Record<string, string> = {
        'embed_tokens.weight': 'gpt_neox.embed_in.weight',
        'norm.weight': 'gpt_neox.final_layer_norm.weight',
        'norm.bias': 'gpt_neox.final_layer_norm.bias',
      };
      return parameter === 'lm_head.weight'
        ? { tensor: 'lm_head.weight', aliases: ['embed_out.weight'] }
        : { tensor: top[parameter] ?? parameter };
    }
    const fused = 'attention.query_key_value';
    const modules: Record<string, ParameterSource> = {
      input_layernorm: { tensor: 'input_layernorm' },
      post_attention_layernorm: { tensor: 'post_attention_layernorm' },
      'self_attn.q_proj': { tensor: fused, rows: interleavedRows(spec, 0) },
      'self_attn.k_proj': { tensor: fused, rows: interleavedRows(spec, 1) },
      'self_attn.v_proj': { tensor: fused, rows: interleavedRows(spec, 2) },
      'self_attn.o_proj': { tensor: 'attention.dense' },
      'mlp.up_proj': { tensor: 'mlp.dense_h_to_4h' },
      'mlp.down_proj': { tensor: 'mlp.dense_4h_to_h' },
    };
    const source = modules[part.module];
    return source ? { ...source, tensor: `gpt_neox.layers.${part.layer}.${source.tensor}.${part.kind}` } : null;
  },
};

/** Rows of head h: q at 3hd, k at (3h + 1)d, v at (3h + 2)d. */
function interleavedRows(spec: ModelSpec, which: 0 | 1 | 2): Int32Array {
  const { heads, headDimensions: d } = spec;
  return Int32Array.from({ length: heads * d }, (_, i) => (3 * Math.trunc(i / d) + which) * d + (i % d));
}
