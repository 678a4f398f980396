/** What a model family is: a reading of its `config.json`, and where its checkpoints keep our parameters. */
import { userError } from '../../../protocol/errors.ts';
import type { Activation, LayerSpec, ModelSpec, RopeSpec } from '../spec.ts';

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

/** Typed reading of a config.json (or of GGUF metadata in its words); every complaint names the file and the key. */
export class Config {
  constructor(
    readonly file: string,
    readonly values: Readonly<Record<string, unknown>>,
  ) {}

  /** @throws UserError when the key is absent or no finite number. */
  number(key: string, fallback?: number): number {
    const value = this.values[key] ?? fallback;
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.complaint(key, 'a number', value);
    return value;
  }
  /** A size: a positive integer. */
  size(key: string, fallback?: number): number {
    const value = this.number(key, fallback);
    if (!Number.isInteger(value) || value <= 0 || value > maximumSize)
      throw this.complaint(key, 'a positive whole number', value);
    return value;
  }
  optionalNumber(key: string): number | null {
    return (this.values[key] ?? null) === null ? null : this.number(key);
  }
  boolean(key: string, fallback: boolean): boolean {
    const value = this.values[key] ?? fallback;
    if (typeof value !== 'boolean') throw this.complaint(key, 'true or false', value);
    return value;
  }
  text(key: string, fallback: string): string {
    const value = this.values[key] ?? fallback;
    if (typeof value !== 'string') throw this.complaint(key, 'a text', value);
    return value;
  }
  list(key: string): readonly unknown[] | null {
    const value = this.values[key] ?? null;
    if (value !== null && !Array.isArray(value)) throw this.complaint(key, 'a list', value);
    return value;
  }
  object(key: string): Config | null {
    const value = this.values[key] ?? null;
    if (value === null) return null;
    if (typeof value !== 'object' || Array.isArray(value)) throw this.complaint(key, 'an object', value);
    return new Config(this.file, value as Record<string, unknown>);
  }
  complaint(key: string, wanted: string, value: unknown): Error {
    const got = value === undefined ? 'is missing' : `is ${JSON.stringify(value)}`;
    return userError(
      'bad-model',
      `${this.file}: "${key}" must be ${wanted}, but ${got}.`,
      'Get the model’s original configuration.',
    );
  }
}

/** No real model is near it; keeps a lying header from asking for terabytes. */
const maximumSize = 1 << 24;

export function activation(config: Config, key: string, fallback: string): Activation {
  const name = config.text(key, fallback);
  const known: Record<string, Activation> = {
    silu: 'silu',
    swish: 'silu',
    gelu: 'gelu',
    gelu_new: 'gelu_tanh',
    gelu_pytorch_tanh: 'gelu_tanh',
    gelu_fast: 'gelu_tanh',
  };
  const found = known[name];
  if (!found)
    throw userError(
      'unsupported',
      `${config.file}: the activation "${name}" is not supported.`,
      `Known: ${Object.keys(known).join(', ')}.`,
    );
  return found;
}

/**
 * Rotary frequencies of a config, in Transformers 4's keys (`rope_theta`, `rope_scaling`) or 5's (`rope_parameters`).
 * llama3 scaling after Transformers' `_compute_llama3_parameters`; linear divides every frequency.
 */
export function rope(
  config: Config,
  headDimensions: number,
  options: { name?: string; theta?: number; fraction?: number; parameters?: Config | null } = {},
): RopeSpec {
  const parameters = options.parameters ?? config.object('rope_parameters') ?? config.object('rope_scaling');
  const theta = parameters?.optionalNumber('rope_theta') ?? options.theta ?? config.number('rope_theta', 10000);
  const fraction =
    parameters?.optionalNumber('partial_rotary_factor') ??
    options.fraction ??
    config.number('partial_rotary_factor', 1);
  const dimensions = Math.trunc(headDimensions * fraction);
  const base = Array.from({ length: dimensions / 2 }, (_, j) => theta ** ((-2 * j) / dimensions));
  const name = options.name ?? 'rope';
  const type = parameters ? parameters.text('rope_type', parameters.text('type', 'default')) : 'default';
  switch (type) {
    case 'default':
      return { name, dimensions, inverseFrequencies: base };
    case 'linear': {
      const factor = parameters!.number('factor');
      return { name, dimensions, inverseFrequencies: base.map((f) => f / factor) };
    }
    case 'llama3': {
      const factor = parameters!.number('factor');
      const low = parameters!.number('low_freq_factor');
      const high = parameters!.number('high_freq_factor');
      const original = parameters!.number('original_max_position_embeddings');
      const scaled = base.map((f) => {
        const wavelength = (2 * Math.PI) / f;
        if (wavelength < original / high) return f;
        if (wavelength > original / low) return f / factor;
        const smooth = (original / wavelength - low) / (high - low);
        return ((1 - smooth) * f) / factor + smooth * f;
      });
      return { name, dimensions, inverseFrequencies: scaled };
    }
    default:
      throw userError(
        'unsupported',
        `${config.file}: rotary scaling "${type}" is not supported.`,
        'Known: default, linear, llama3.',
      );
  }
}

/** The frame most families share: Llama with whatever is told otherwise. */
export function llamaLike(config: Config, family: string, different: Partial<ModelSpec> = {}): ModelSpec {
  const hidden = config.size('hidden_size');
  const heads = config.size('num_attention_heads');
  const kvHeads = config.size('num_key_value_heads', heads);
  const headDimensions = config.size('head_dim', Math.trunc(hidden / heads));
  if (heads % kvHeads !== 0) {
    throw userError('bad-model', `${config.file}: ${heads} attention heads cannot share ${kvHeads} key/value heads.`);
  }
  const layer: LayerSpec = { rope: rope(config, headDimensions), window: null };
  return {
    family,
    vocabulary: config.size('vocab_size'),
    hidden,
    heads,
    kvHeads,
    headDimensions,
    feedForward: config.size('intermediate_size'),
    contextLength: config.size('max_position_embeddings', 2048),
    layers: Array.from({ length: config.size('num_hidden_layers') }, () => layer),
    norm: { kind: 'rms', epsilon: config.number('rms_norm_eps', 1e-6), unitOffset: 0 },
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
  const types = config.list('layer_types');
  return layers.map((layer, i) => ({ ...layer, window: types && types[i] !== 'sliding_attention' ? null : window }));
}

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
