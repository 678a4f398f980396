/** A model family: the reading of its `config.json`, and the names of our parameters in its checkpoints. */
import { userError } from '../../../protocol/errors.ts';
import { shownValue } from '../../../protocol/foreign.ts';
import type { Activation, LayerSpec, ModelSpec } from '../spec.ts';
import { limits, type Config } from './config.ts';
import { rope } from './rope.ts';

/** How a parameter is taken out of a checkpoint tensor. */
export interface ParameterSource {
  readonly tensor: string;
  /** Older or shorter names of the same tensor. */
  readonly aliases?: readonly string[];
  /** Row numbers of the tensor, in the parameter's order; all rows if absent. Of experts: those of all matrices together. */
  readonly rows?: Int32Array;
  /** For experts with `rows`: the number of experts. */
  readonly rowsStored?: number;
  /** The checkpoint stores `[in, out]` (GPT-2's Conv1D); of experts `[experts, in, out]`. */
  readonly transposed?: boolean;
  /** The checkpoint stores the parameter as these tensors one after another, or a vector in several rows. */
  readonly pieces?: readonly string[];
  /** The name to try if this one does not exist. */
  readonly otherwise?: ParameterSource;
}

export interface Family {
  /** `model_type` values of config.json. */
  readonly types: readonly string[];
  readonly spec: (config: Config) => ModelSpec;
  /** Our parameter (`layers.0.self_attn.q_proj.weight`) → its place in a checkpoint; null if the family has none. */
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

/** The frame most families share: Llama, with what is given instead. */
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
    attentionSinks: false,
    finalSoftcap: null,
    residualScale: 1,
    logitScale: 1,
    embeddingScale: 1,
    learnedPositions: false,
    tied: config.boolean('tie_word_embeddings', false),
    ...different,
  };
}

/** Per-layer windows from `layer_types`, else one window for all. */
function windowed(config: Config, layers: readonly LayerSpec[], window: number | null): LayerSpec[] {
  const types = layerTypes(config, layers.length);
  return layers.map((layer, i) => ({ ...layer, window: types && types[i] !== 'sliding_attention' ? null : window }));
}

export const windowOf = (config: Config): number | null => config.optionalSize('sliding_window', limits.context);

export const withWindow = (config: Config, spec: ModelSpec, window: number | null): ModelSpec => ({
  ...spec,
  layers: windowed(config, spec.layers, window),
});

export const layerTypes = (config: Config, layers: number): readonly LayerType[] | null =>
  config.perLayer('layer_types', ['full_attention', 'sliding_attention'], layers);

export type LayerType = 'full_attention' | 'sliding_attention';

/** Hugging Face's Llama naming: ours with `model.` before it; of a model with vision, with names of its language part. */
export const huggingFaceSource = (parameter: string): ParameterSource => ({
  tensor: parameter.startsWith('lm_head.') ? parameter : `model.${parameter}`,
  aliases: [
    parameter,
    `model.language_model.${parameter}`,
    `language_model.${parameter.startsWith('lm_head.') ? '' : 'model.'}${parameter}`,
  ],
});

/** Llama's naming with other names for some modules of a layer (`mlp.up_proj`) and for parameters outside (`norm`). */
export const renamedSource =
  (names: ReadonlyMap<string, string>) =>
  (parameter: string): ParameterSource => {
    const [, before, module, kind] = /^(layers\.\d+\.|)(.+)\.(weight|bias)$/.exec(parameter) ?? [];
    return huggingFaceSource(module === undefined ? parameter : `${before}${names.get(module) ?? module}.${kind}`);
  };

/**
 * Rows of q or k of a family that rotates pairs of neighbours (2j, 2j + 1), in the order used here, in which pairs are j and
 * j + rotated/2. The rest of a head stays in place.
 */
export function pairedRows(heads: number, headDimensions: number, rotated = headDimensions): Int32Array {
  const half = rotated / 2;
  return Int32Array.from({ length: heads * headDimensions }, (_, i) => {
    const head = Math.trunc(i / headDimensions);
    const within = i % headDimensions;
    const from = within < rotated ? 2 * (within % half) + Math.trunc(within / half) : within;
    return head * headDimensions + from;
  });
}

/** The heads of q or k, by the module's name; 0 for any other. */
export const rotatedHeads = (module: string, { heads, kvHeads }: ModelSpec): number =>
  /^self_attn\.q_/.test(module) ? heads : /^self_attn\.k_/.test(module) ? kvHeads : 0;

/** Rows `[start, start + count)`. */
export const rowRange = (start: number, count: number): Int32Array =>
  Int32Array.from({ length: count }, (_, i) => start + i);

/** Splits `layers.3.self_attn.q_proj.weight` into its parts; null for parameters outside the layers. */
export function layerParameter(parameter: string): { layer: number; module: string; kind: string } | null {
  const match = /^layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(parameter);
  return match ? { layer: Number(match[1]), module: match[2]!, kind: match[3]! } : null;
}

/** For checkpoints that fuse q, k, v (and gate, up) by rows. */
export function fusedSource(
  parameter: string,
  spec: ModelSpec,
  plain: (parameter: string) => { tensor: string },
  attention: string | null,
  mlp: string | null,
): { tensor: string; rows?: Int32Array } {
  const part = layerParameter(parameter);
  if (!part) return plain(parameter);
  const q = spec.heads * spec.headDimensions;
  const kv = spec.kvHeads * spec.headDimensions;
  const ranges: Record<string, [string, number, number]> = {
    ...(attention && {
      'self_attn.q_proj': [attention, 0, q],
      'self_attn.k_proj': [attention, q, kv],
      'self_attn.v_proj': [attention, q + kv, kv],
    }),
    ...(mlp && {
      'mlp.gate_proj': [mlp, 0, spec.feedForward],
      'mlp.up_proj': [mlp, spec.feedForward, spec.feedForward],
    }),
  };
  const range = ranges[part.module];
  if (!range) return plain(parameter);
  const [module, start, count] = range;
  return { ...plain(`layers.${part.layer}.${module}.${part.kind}`), rows: rowRange(start, count) };
}
