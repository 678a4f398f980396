/**
 * Models in GGUF: the metadata is translated into the family's config.json, so that the family itself reads it; tensors have one naming for
 * all families. Changes that llama.cpp's converter makes to the weights are undone or recorded here.
 */
import { userError } from '../../../protocol/errors.ts';
import type { ModelSpec } from '../spec.ts';
import { Config } from './config.ts';
import {
  fusedSource,
  layerParameter,
  pairedRows,
  rotatedHeads,
  type Family,
  type LayerType,
  type ParameterSource,
} from './family.ts';
import { cohere } from './cohere.ts';
import { gemma, gemma2 } from './gemma.ts';
import { gemma3 } from './gemma3.ts';
import { glm4 } from './glm4.ts';
import { gpt2, gptNeoX } from './gpt.ts';
import { gptOss } from './gpt-oss.ts';
import { granite, graniteMoe } from './granite.ts';
import { llama, mistral, olmo2, phi3, qwen2, qwen3, smollm3 } from './llama.ts';
import { mixtral } from './mixtral.ts';
import { expertParameter } from './mixture.ts';
import { olmoe } from './olmoe.ts';
import { phi } from './phi.ts';
import { qwen2Moe, qwen3Moe } from './qwen-moe.ts';
import { stablelm } from './stablelm.ts';
import { starcoder2 } from './starcoder2.ts';
import { unknownFamily } from './unknown.ts';

interface GgufFamily {
  readonly family: Family;
  /** The family of files with a count of experts, if it is another one. */
  readonly mixture?: Family;
  /** Rows of q and k are in the order of a rotation of neighbours, by the converter or originally; ours rotates halves. */
  readonly permutedRotary?: boolean;
  readonly fusedAttention?: boolean;
  readonly fusedMlp?: boolean;
  /** Early files have q, k and v as one tensor. */
  readonly onceFusedAttention?: boolean;
  /** Names of its norms, if they differ from Llama's. */
  readonly norms?: Readonly<Record<string, string>>;
  /** The same of a model whose attention and MLP run in parallel, if only some of the family's do. */
  readonly parallelNorms?: Readonly<Record<string, string>>;
  /** Gains of norms are stored with 1 added. */
  readonly addedOne?: boolean;
  /** Keys that only other models of this architecture have, and the names of those models. */
  readonly others?: Readonly<Record<string, string>>;
}

const postNorms = { post_attention_layernorm: 'post_attention_norm', post_feedforward_layernorm: 'post_ffw_norm' };

const sandwichNorms = { ...postNorms, pre_feedforward_layernorm: 'ffn_norm' };
/** Attention and MLP read one norm. */
const oneNorm = { post_attention_layernorm: 'attn_norm' };

/** By `general.architecture`. */
export const architectures: ReadonlyMap<string, GgufFamily> = new Map<string, GgufFamily>([
  ['llama', { family: llama, mixture: mixtral, permutedRotary: true }],
  ['mistral', { family: mistral, permutedRotary: true }],
  ['qwen2', { family: qwen2 }],
  ['qwen3', { family: qwen3 }],
  ['olmo2', { family: olmo2, norms: postNorms, others: { 'attention.sliding_window': 'OLMo 3' } }],
  ['smollm3', { family: smollm3, permutedRotary: true }],
  ['phi3', { family: phi3, fusedAttention: true, fusedMlp: true }],
  ['gemma', { family: gemma, addedOne: true }],
  ['gemma2', { family: gemma2, norms: sandwichNorms, addedOne: true }],
  ['gemma3', { family: gemma3, norms: sandwichNorms, addedOne: true }],
  ['granite', { family: granite, permutedRotary: true }],
  ['starcoder2', { family: starcoder2 }],
  ['command-r', { family: cohere, permutedRotary: true, norms: oneNorm }],
  [
    'glm4',
    {
      family: glm4,
      permutedRotary: true,
      fusedMlp: true,
      norms: sandwichNorms,
      others: { 'rope.dimension_sections': 'a GLM with vision' },
    },
  ],
  ['stablelm', { family: stablelm, parallelNorms: oneNorm }],
  ['phi2', { family: phi, norms: oneNorm, onceFusedAttention: true }],
  ['gpt2', { family: gpt2, fusedAttention: true }],
  ['gptneox', { family: gptNeoX, fusedAttention: true }],
  ['qwen3moe', { family: qwen3Moe }],
  ['qwen2moe', { family: qwen2Moe }],
  ['olmoe', { family: olmoe }],
  [
    'granitemoe',
    {
      family: graniteMoe,
      permutedRotary: true,
      others: { expert_shared_feed_forward_length: 'Granite with a shared expert' },
    },
  ],
  ['gpt-oss', { family: gptOss, norms: { post_attention_layernorm: 'post_attention_norm' } }],
]);

/** What of a GGUF file a family needs besides the metadata. */
export interface GgufFacts {
  readonly file: string;
  readonly metadata: { get(key: string): unknown; keys(): Iterable<string> };
  readonly hasTensor: (name: string) => boolean;
  /** Values of a vector; null if there is none of this name. */
  readonly vector: (name: string) => Float32Array | null;
  /** Rows of `token_embd.weight`. */
  readonly vocabulary: number;
}

/** @throws UserError for an unknown architecture or missing metadata. */
export function ggufModel(facts: GgufFacts): { spec: ModelSpec; source: Family['source'] } {
  const { name, architecture } = ggufArchitecture(facts);
  const words = new Config(facts.file, configWords(name, facts));
  const family = (words.has('num_experts') && architecture.mixture) || architecture.family;
  const read = family.spec(words);
  return {
    spec: corrected(architecture, read, facts),
    source: (parameter, spec) => ggufSource(architecture, parameter, spec),
  };
}

/** @throws UserError `unsupported` for an architecture that no family reads. */
export function ggufArchitecture({ file, metadata }: Pick<GgufFacts, 'file' | 'metadata'>): {
  readonly name: string;
  readonly architecture: GgufFamily;
} {
  const declared = metadata.get('general.architecture');
  const name = typeof declared === 'string' ? declared : '';
  const architecture = architectures.get(name);
  if (!architecture) {
    const keys = [...metadata.keys()].filter((key) => key.startsWith(`${name}.`));
    const words = keys.map((key) => key.slice(name.length + 1).replaceAll('.', '_'));
    throw unknownFamily(file, 'GGUF architecture', name, words, [...architectures.keys()]);
  }
  for (const [key, other] of Object.entries(architecture.others ?? {}))
    if (metadata.get(`${name}.${key}`))
      throw userError(
        'unsupported',
        `${file}: the GGUF architecture "${name}" with "${key}" is ${other}, which is not supported.`,
        'Choose another model.',
      );
  return { name, architecture };
}

function configWords(name: string, { metadata, hasTensor, vocabulary, vector }: GgufFacts): Record<string, unknown> {
  const get = (key: string): unknown => oneForAll(metadata.get(`${name}.${key}`));
  const heads = get('attention.head_count');
  const hidden = get('embedding_length');
  const headDimensions =
    get('attention.key_length') ??
    (typeof hidden === 'number' && typeof heads === 'number' ? hidden / heads : undefined);
  const ropeDimensions = get('rope.dimension_count');
  const fraction =
    typeof ropeDimensions === 'number' && typeof headDimensions === 'number' ? ropeDimensions / headDimensions : 1;
  const words: Record<string, unknown> = {
    vocab_size: vocabulary,
    hidden_size: hidden,
    n_embd: hidden,
    num_hidden_layers: get('block_count'),
    n_layer: get('block_count'),
    num_attention_heads: heads,
    n_head: heads,
    num_key_value_heads: get('attention.head_count_kv'),
    head_dim: headDimensions,
    intermediate_size: get('feed_forward_length'),
    n_inner: get('feed_forward_length'),
    // Zero says that there are none.
    num_experts: get('expert_count') || undefined,
    num_experts_per_tok: get('expert_used_count'),
    moe_intermediate_size: get('expert_feed_forward_length') ?? expertWidth(get),
    shared_expert_intermediate_size: get('expert_shared_feed_forward_length') ?? get('feed_forward_length'),
    norm_topk_prob: name === 'qwen3moe',
    max_position_embeddings: get('context_length'),
    n_positions: get('context_length'),
    embedding_multiplier: get('embedding_scale'),
    residual_multiplier: get('residual_scale'),
    attention_multiplier: get('attention.scale'),
    logits_scaling: get('logit_scale'),
    logit_scale: get('logit_scale'),
    query_pre_attn_scalar: queryScalar(name, hidden, heads, get('block_count'), headDimensions),
    norm_epsilon: get('attention.layer_norm_epsilon'),
    qk_layernorm: hasTensor('blk.0.attn_q_norm.weight'),
    use_qk_norm: hasTensor('blk.0.attn_q_norm.weight'),
    rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
    layer_norm_eps: get('attention.layer_norm_epsilon'),
    layer_norm_epsilon: get('attention.layer_norm_epsilon'),
    rope_theta: get('rope.freq_base'),
    rotary_pct: fraction,
    partial_rotary_factor: fraction,
    rope_scaling: ropeScaling(name, get, vector) ?? unnamedScaling(name, get),
    original_max_position_embeddings: get('rope.scaling.original_context_length'),
    // As in llama.cpp: the converter writes the key of a StableLM as true if its config has none, which means false there.
    use_parallel_residual: name === 'stablelm' ? !hasTensor('blk.0.ffn_norm.weight') : get('use_parallel_residual'),
    // Zero says that there is none.
    sliding_window: get('attention.sliding_window') || undefined,
    // The first files of Gemma 2 do not name its caps; llama.cpp has the same ones for them.
    attn_logit_softcapping: get('attn_logit_softcapping') ?? (name === 'gemma2' ? 50 : undefined),
    final_logit_softcapping: get('final_logit_softcapping') ?? (name === 'gemma2' ? 30 : undefined),
    tie_word_embeddings: !hasTensor('output.weight'),
    ...(name === 'gemma3' && gemma3Words(get, metadata.get('gemma3.attention.sliding_window_pattern'))),
  };
  return Object.fromEntries(Object.entries(words).filter(([, value]) => value !== undefined));
}

/** As in llama.cpp: the first files of Qwen1.5-MoE have the width of all experts that a token uses. */
function expertWidth(get: (key: string) => unknown): number | undefined {
  const [width, used] = [get('feed_forward_length'), get('expert_used_count')];
  return typeof width === 'number' && typeof used === 'number' && used > 0 ? width / used : undefined;
}

/** llama.cpp takes counts as one number, or as a list with one for each layer: a list of equal numbers is that number. */
function oneForAll(value: unknown): unknown {
  if (!ArrayBuffer.isView(value)) return value;
  const numbers = value as Float64Array;
  return numbers.length > 0 && numbers.every((each) => each === numbers[0]) ? numbers[0] : value;
}

/**
 * Number of layers of the Gemmas with 27 billion parameters. They alone scale scores by hidden size ÷ heads instead of the width of a head;
 * no key says so.
 */
const largest: ReadonlyMap<string, number> = new Map([
  ['gemma2', 46],
  ['gemma3', 62],
]);

const queryScalar = (
  name: string,
  hidden: unknown,
  heads: unknown,
  layers: unknown,
  headDimensions: unknown,
): unknown =>
  layers === largest.get(name) && typeof hidden === 'number' && typeof heads === 'number'
    ? hidden / heads
    : headDimensions;

/** Rotary scaling in Transformers' terms. llama.cpp stores YaRN's attention factor as its multiplier. */
function ropeScaling(
  name: string,
  get: (key: string) => unknown,
  vector: GgufFacts['vector'],
): Readonly<Record<string, unknown>> | undefined {
  // As in llama.cpp: an older key, and linear if there is no type.
  const factor = get('rope.scaling.factor') ?? get('rope.scale_linear');
  const type = get('rope.scaling.type') ?? 'linear';
  const attention = get('rope.scaling.attn_factor');
  const short = vector('rope_factors_short.weight');
  const long = vector('rope_factors_long.weight');
  if (short && long)
    return {
      rope_type: 'longrope',
      short_factor: [...short],
      long_factor: [...long],
      attention_factor: attention,
    };
  // Zero says that there is none.
  if (typeof factor !== 'number' || factor === 0) return undefined;
  if (type === 'linear') return { rope_type: 'linear', factor };
  if (type !== 'yarn') return undefined;
  return {
    rope_type: 'yarn',
    factor,
    original_max_position_embeddings: get('rope.scaling.original_context_length'),
    beta_fast: get('rope.scaling.yarn_beta_fast'),
    beta_slow: get('rope.scaling.yarn_beta_slow'),
    // No key says so; the model was trained in this way.
    truncate: name !== 'gpt-oss',
    ...(typeof attention === 'number' && { attention_factor: attention * (1 + 0.1 * Math.log(factor)) }),
  };
}

/** Ollama's own files of the Gemmas 3 with vision do not name the scaling of their global layers. */
const unnamedScaling = (name: string, get: (key: string) => unknown): object | undefined =>
  name === 'gemma3' && get('vision.block_count') ? { rope_type: 'linear', factor: 8 } : undefined;

/** Which layers of a Gemma 3 are local: none without a window, as in llama.cpp. `pattern`: every how many are not, or a flag for each. */
function gemma3Words(get: (key: string) => unknown, pattern: unknown): Readonly<Record<string, unknown>> {
  const types = pattern instanceof Uint8Array ? [...pattern].map((isLocal) => layerType(isLocal !== 0)) : undefined;
  return {
    rope_local_base_freq: get('rope.freq_base_swa') ?? get('rope.local.freq_base'),
    sliding_window_pattern: get('attention.sliding_window') ? (types ? undefined : pattern) : 1,
    layer_types: get('attention.sliding_window') ? types : undefined,
  };
}

const layerType = (isLocal: boolean): LayerType => (isLocal ? 'sliding_attention' : 'full_attention');

/** Whether a tensor belongs to what a layer computes: llama.cpp opens no file with a tensor that it does not read. */
export const isOfLayer = (tensor: string): boolean => tensor.startsWith('blk.');

/** What the converter folded into the weights, and rotary factors that it keeps as a tensor. */
function corrected({ addedOne = false }: GgufFamily, spec: ModelSpec, { file, vector }: GgufFacts): ModelSpec {
  // llama3 scaling, as factors.
  const ropeFactors = vector('rope_freqs.weight');
  if (ropeFactors?.some((factor) => !(factor > 0 && Number.isFinite(factor))))
    throw userError('bad-weights', `${file}: its rotary factors are not all above 0.`, 'Get the file again.');
  const norm = addedOne ? { ...spec.norm, unitOffset: 0 as const } : spec.norm;
  const layers = ropeFactors
    ? spec.layers.map(({ rope, ...layer }) => ({
        ...layer,
        rope: rope && { ...rope, inverseFrequencies: rope.inverseFrequencies.map((f, j) => f / (ropeFactors[j] ?? 1)) },
      }))
    : spec.layers;
  return { ...spec, norm, layers };
}

/** Name of our parameter in a file of an architecture (`general.architecture`); null if it has none. */
export const ggufPlace = (name: string, parameter: string, spec: ModelSpec): ParameterSource | null =>
  ggufSource(architectures.get(name)!, parameter, spec);

function ggufSource(architecture: GgufFamily, parameter: string, spec: ModelSpec): ParameterSource | null {
  const part = layerParameter(parameter);
  if (!part) {
    const top: Record<string, string> = {
      'embed_tokens.weight': 'token_embd.weight',
      'embed_positions.weight': 'position_embd.weight',
      'norm.weight': 'output_norm.weight',
      'norm.bias': 'output_norm.bias',
      'lm_head.weight': 'output.weight',
      'lm_head.bias': 'output.bias',
    };
    const tensor = top[parameter];
    return tensor ? { tensor } : null;
  }
  const norms = (spec.parallelResidual && architecture.parallelNorms) || architecture.norms;
  const name = (p: string): { tensor: string } => {
    const { layer, module, kind } = layerParameter(p)!;
    return { tensor: `blk.${layer}.${norms?.[module] ?? ggufModules[module] ?? module}.${kind}` };
  };
  if (!ggufModules[part.module] && !norms?.[part.module]) return null;
  if (architecture.fusedAttention)
    return fusedSource(parameter, spec, name, 'attn_qkv', architecture.fusedMlp ? 'ffn_up' : null);
  if (architecture.fusedMlp && part.module.startsWith('mlp.'))
    return fusedSource(parameter, spec, name, null, 'ffn_up');
  const heads = rotatedHeads(part.module, spec);
  const place = name(parameter);
  if (architecture.onceFusedAttention && /^self_attn\.[qkv]_proj$/.test(part.module))
    return { ...place, otherwise: fusedSource(parameter, spec, name, 'attn_qkv', null) };
  const expert = expertParameter(parameter, spec);
  if (expert) return { ...place, otherwise: separateExperts(place.tensor, expert.mixture.experts) };
  return {
    ...place,
    ...(architecture.permutedRotary && heads > 0 && { rows: pairedRows(heads, spec.headDimensions, rotatedOf(spec)) }),
    // Gains a head are stored in a row each, and a matrix with one row as a vector.
    ...(((spec.qkNorm === 'heads' && /_norm$/.test(part.module) && heads > 0) ||
      part.module === 'mlp.shared_expert_gate') && {
      pieces: [place.tensor],
    }),
  };
}

/** The first files of Mixtral have a tensor for each expert: `blk.0.ffn_gate.7.weight` for one matrix of `blk.0.ffn_gate_exps.weight`. */
function separateExperts(stacked: string, experts: number): ParameterSource {
  const pieces = Array.from({ length: experts }, (_, n) => stacked.replace(/_exps\./, `.${n}.`));
  return { tensor: pieces[0]!, pieces };
}

const ggufModules: Readonly<Record<string, string>> = {
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  'mlp.gate': 'ffn_gate_inp',
  'mlp.experts.gate_proj': 'ffn_gate_exps',
  'mlp.experts.up_proj': 'ffn_up_exps',
  'mlp.experts.down_proj': 'ffn_down_exps',
  'mlp.shared_expert.gate_proj': 'ffn_gate_shexp',
  'mlp.shared_expert.up_proj': 'ffn_up_shexp',
  'mlp.shared_expert.down_proj': 'ffn_down_shexp',
  'mlp.shared_expert_gate': 'ffn_gate_inp_shexp',
  'self_attn.sinks': 'attn_sinks',
  // Only read through a fused tensor.
  attn_qkv: 'attn_qkv',
  ffn_up: 'ffn_up',
};

const rotatedOf = ({ layers, headDimensions }: ModelSpec): number => layers[0]?.rope?.dimensions ?? headDimensions;
