/** What a model family is: a reading of its `config.json`, and where its checkpoints keep our parameters. */
import { userError } from '../../../protocol/errors.ts';
import { shownValue } from '../../../protocol/foreign.ts';
import type { Activation, LayerSpec, ModelSpec, RopeSpec } from '../spec.ts';
import { limits, type Config } from './config.ts';

/** How a parameter is taken out of a checkpoint tensor. */
export interface ParameterSource {
  readonly tensor: string;
  /** Older or shorter names of the same tensor. */
  readonly aliases?: readonly string[];
  /** Row numbers of the tensor, in the parameter's order; all rows where absent. */
  readonly rows?: Int32Array;
  /** The checkpoint stores `[in, out]` (GPT-2's Conv1D). */
  readonly transposed?: boolean;
}

export interface Family {
  /** `model_type` values of config.json. */
  readonly types: readonly string[];
  readonly spec: (config: Config) => ModelSpec;
  /** Our parameter (`layers.0.self_attn.q_proj.weight`) → its place in a checkpoint; null where the family has none. */
  readonly source: (parameter: string, spec: ModelSpec) => ParameterSource | null;
}

export function activation(config: Config, key: string, fallback: string): Activation {
  const name = config.text(key, fallback);
  const found = activations.get(name);
  if (!found)
    throw userError(
      'unsupported',
      `${config.file}: the activation ${shownValue(name)} is not supported.`,
      `Known: ${[...activations.keys()].join(', ')}.`,
    );
  return found;
}

const activations = new Map<string, Activation>([
  ['silu', 'silu'],
  ['swish', 'silu'],
  ['gelu', 'gelu'],
  ['gelu_new', 'gelu_tanh'],
  ['gelu_pytorch_tanh', 'gelu_tanh'],
  ['gelu_fast', 'gelu_tanh'],
]);

/**
 * Rotary frequencies of a config, in Transformers 4's keys (`rope_theta`, `rope_scaling`) or 5's (`rope_parameters`).
 * llama3 scaling after Transformers' `_compute_llama3_parameters`; linear divides every frequency.
 */
export function rope(
  config: Config,
  headDimensions: number,
  options: { name?: string; theta?: number; share?: number; parameters?: Config | null } = {},
): RopeSpec {
  const parameters = options.parameters ?? config.object('rope_parameters') ?? config.object('rope_scaling');
  const theta =
    parameters?.optionalNumber('rope_theta', limits.theta) ??
    options.theta ??
    config.number('rope_theta', limits.theta, 10000);
  const share =
    parameters?.optionalNumber('partial_rotary_factor', limits.rotaryShare) ??
    options.share ??
    config.number('partial_rotary_factor', limits.rotaryShare, 1);
  // A share made of two whole numbers may come back a little below their ratio.
  const dimensions = Math.trunc(headDimensions * share + 1e-6);
  if (dimensions < 2 || dimensions % 2 !== 0)
    throw userError(
      'bad-model',
      `${config.file}: ${dimensions} of the ${headDimensions} dimensions of a head would rotate, which are no pairs.`,
      'Get the model’s original configuration.',
    );
  const base = Array.from({ length: dimensions / 2 }, (_, j) => theta ** ((-2 * j) / dimensions));
  const name = options.name ?? 'rope';
  const type = parameters ? parameters.text('rope_type', parameters.text('type', 'default')) : 'default';
  switch (type) {
    case 'default':
      return { name, dimensions, inverseFrequencies: base };
    case 'linear': {
      const factor = parameters!.number('factor', limits.ropeFactor);
      return { name, dimensions, inverseFrequencies: base.map((f) => f / factor) };
    }
    case 'llama3': {
      const factor = parameters!.number('factor', limits.ropeFactor);
      const low = parameters!.number('low_freq_factor', limits.ropeFactor);
      const high = parameters!.number('high_freq_factor', [low, limits.ropeFactor[1]]);
      const original = parameters!.size('original_max_position_embeddings', limits.context);
      const scaled = base.map((f) => {
        const wavelength = (2 * Math.PI) / f;
        if (wavelength < original / high) return f;
        if (wavelength > original / low) return f / factor;
        const smooth = high === low ? 1 : (original / wavelength - low) / (high - low);
        return ((1 - smooth) * f) / factor + smooth * f;
      });
      return { name, dimensions, inverseFrequencies: scaled };
    }
    default:
      throw userError(
        'unsupported',
        `${config.file}: rotary scaling ${shownValue(type)} is not supported.`,
        'Known: default, linear, llama3.',
      );
  }
}

/** The frame most families share: Llama with whatever is told otherwise. */
export function llamaLike(config: Config, family: string, different: Partial<ModelSpec> = {}): ModelSpec {
  const hidden = config.size('hidden_size', limits.hidden);
  const heads = config.size('num_attention_heads', limits.heads);
  const kvHeads = config.size('num_key_value_heads', limits.heads, heads);
  const headDimensions = config.size('head_dim', limits.headDimensions, Math.trunc(hidden / heads));
  if (heads % kvHeads !== 0) {
    throw userError('bad-model', `${config.file}: ${heads} attention heads cannot share ${kvHeads} key/value heads.`);
  }
  if (heads * headDimensions > limits.hidden) {
    throw userError(
      'bad-model',
      `${config.file}: ${heads} heads of ${headDimensions} dimensions are more than a model has.`,
    );
  }
  const layer: LayerSpec = { rope: rope(config, headDimensions), window: null };
  return {
    family,
    vocabulary: config.size('vocab_size', limits.vocabulary),
    hidden,
    heads,
    kvHeads,
    headDimensions,
    feedForward: config.size('intermediate_size', limits.feedForward),
    contextLength: config.size('max_position_embeddings', limits.context, 2048),
    layers: Array.from({ length: config.size('num_hidden_layers', limits.layers) }, () => layer),
    norm: { kind: 'rms', epsilon: config.number('rms_norm_eps', limits.epsilon, 1e-6), unitOffset: 0 },
    normPlacement: 'pre',
    parallelResidual: false,
    mlp: 'gated',
    activation: activation(config, 'hidden_act', 'silu'),
    qkNorm: 'none',
    attentionScale: headDimensions ** -0.5,
    attentionSoftcap: null,
    finalSoftcap: null,
    embeddingScale: 1,
    learnedPositions: false,
    tied: config.boolean('tie_word_embeddings', false),
    ...different,
  };
}

/** Per-layer windows from `layer_types`, else one window for all. */
export function windowed(config: Config, layers: readonly LayerSpec[], window: number | null): LayerSpec[] {
  const types = layerTypes(config, layers.length);
  return layers.map((layer, i) => ({ ...layer, window: types && types[i] !== 'sliding_attention' ? null : window }));
}

export const layerTypes = (config: Config, layers: number): readonly LayerType[] | null =>
  config.perLayer('layer_types', ['full_attention', 'sliding_attention'], layers);

type LayerType = 'full_attention' | 'sliding_attention';

/** Hugging Face's Llama naming: ours with `model.` before it. */
export const huggingFaceSource = (parameter: string): ParameterSource => ({
  tensor: parameter.startsWith('lm_head.') ? parameter : `model.${parameter}`,
  aliases: [parameter, `model.language_model.${parameter}`, `language_model.model.${parameter}`],
});

/** Rows `[start, start + count)`. */
export const rowRange = (start: number, count: number): Int32Array =>
  Int32Array.from({ length: count }, (_, i) => start + i);

/** Splits `layers.3.self_attn.q_proj.weight` into its parts; null for parameters outside the layers. */
export function layerParameter(parameter: string): { layer: number; module: string; kind: string } | null {
  const match = /^layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(parameter);
  return match ? { layer: Number(match[1]), module: match[2]!, kind: match[3]! } : null;
}
