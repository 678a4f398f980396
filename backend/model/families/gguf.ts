/**
 * Models in GGUF: the metadata is put into the words of the family's config.json, so that the family itself reads it;
 * tensors have one naming for all families. What llama.cpp's converter changed in the weights is undone or told here.
 */
import { userError } from '../../../protocol/errors.ts';
import { shownValue } from '../../../protocol/foreign.ts';
import type { ModelSpec } from '../spec.ts';
import { Config } from './config.ts';
import { layerParameter, type Family, type ParameterSource } from './family.ts';
import { gemma3 } from './gemma3.ts';
import { gpt2, gptNeoX } from './gpt.ts';
import { fusedSource, llama, mistral, olmo2, phi3, qwen2, qwen3, smollm3 } from './llama.ts';

interface GgufFamily {
  readonly family: Family;
  /** The converter reordered q and k rows for interleaved rotation; ours rotates halves. */
  readonly permutedRotary?: boolean;
  readonly fusedAttention?: boolean;
  readonly fusedMlp?: boolean;
  /** Llama's names for the two feed-forward norms of OLMo 2 and Gemma. */
  readonly norms?: Readonly<Record<string, string>>;
}

const postNorms = { post_attention_layernorm: 'post_attention_norm', post_feedforward_layernorm: 'post_ffw_norm' };

const architectures = new Map<string, GgufFamily>([
  ['llama', { family: llama, permutedRotary: true }],
  ['mistral', { family: mistral, permutedRotary: true }],
  ['qwen2', { family: qwen2 }],
  ['qwen3', { family: qwen3 }],
  ['olmo2', { family: olmo2, norms: postNorms }],
  ['smollm3', { family: smollm3, permutedRotary: true }],
  ['phi3', { family: phi3, fusedAttention: true, fusedMlp: true }],
  ['gemma3', { family: gemma3, norms: { ...postNorms, pre_feedforward_layernorm: 'ffn_norm' } }],
  ['gpt2', { family: gpt2, fusedAttention: true }],
  ['gptneox', { family: gptNeoX, fusedAttention: true }],
]);

/** What of a GGUF file a family needs besides the metadata. */
export interface GgufFacts {
  readonly file: string;
  readonly metadata: { get(key: string): unknown };
  readonly hasTensor: (name: string) => boolean;
  /** Values of `rope_freqs.weight` (llama3 scaling as factors), or null. */
  readonly ropeFactors: Float32Array | null;
  /** Rows of `token_embd.weight`. */
  readonly vocabulary: number;
}

/** @throws UserError for an unknown architecture or missing metadata. */
export function ggufModel(facts: GgufFacts): { spec: ModelSpec; source: Family['source'] } {
  const declared = facts.metadata.get('general.architecture');
  const name = typeof declared === 'string' ? declared : '';
  const architecture = architectures.get(name);
  if (!architecture) {
    throw userError(
      'unsupported',
      `${facts.file}: the GGUF architecture ${shownValue(name)} is not supported.`,
      `Supported: ${[...architectures.keys()].join(', ')}.`,
    );
  }
  const read = architecture.family.spec(new Config(facts.file, configWords(name, facts)));
  return { spec: corrected(name, read, facts), source: (parameter, spec) => ggufSource(architecture, parameter, spec) };
}

function configWords(name: string, { metadata, hasTensor, vocabulary }: GgufFacts): Record<string, unknown> {
  const get = (key: string): unknown => metadata.get(`${name}.${key}`);
  const heads = get('attention.head_count');
  const hidden = get('embedding_length');
  const headDimensions =
    get('attention.key_length') ??
    (typeof hidden === 'number' && typeof heads === 'number' ? hidden / heads : undefined);
  const ropeDimensions = get('rope.dimension_count');
  const fraction =
    typeof ropeDimensions === 'number' && typeof headDimensions === 'number' ? ropeDimensions / headDimensions : 1;
  const factor = get('rope.scaling.factor');
  const scaling =
    get('rope.scaling.type') === 'linear' && typeof factor === 'number' ? { rope_type: 'linear', factor } : null;
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
    max_position_embeddings: get('context_length'),
    n_positions: get('context_length'),
    rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
    layer_norm_eps: get('attention.layer_norm_epsilon'),
    layer_norm_epsilon: get('attention.layer_norm_epsilon'),
    rope_theta: get('rope.freq_base'),
    rotary_pct: fraction,
    partial_rotary_factor: fraction,
    rope_scaling: scaling,
    use_parallel_residual: get('use_parallel_residual'),
    // Zero says that there is none.
    sliding_window: get('attention.sliding_window') || undefined,
    attn_logit_softcapping: get('attn_logit_softcapping'),
    final_logit_softcapping: get('final_logit_softcapping'),
    tie_word_embeddings: !hasTensor('output.weight'),
  };
  return Object.fromEntries(Object.entries(words).filter(([, value]) => value !== undefined));
}

/** What the converter folded into the weights, and rotary factors that it keeps as a tensor. */
function corrected(name: string, spec: ModelSpec, { file, ropeFactors }: GgufFacts): ModelSpec {
  if (ropeFactors?.some((factor) => !(factor > 0 && Number.isFinite(factor))))
    throw userError('bad-weights', `${file}: its rotary factors are not all above 0.`, 'Get the file again.');
  const norm = name === 'gemma3' ? { ...spec.norm, unitOffset: 0 as const } : spec.norm;
  const layers = ropeFactors
    ? spec.layers.map(({ rope, window }) => ({
        window,
        rope: rope && { ...rope, inverseFrequencies: rope.inverseFrequencies.map((f, j) => f / (ropeFactors[j] ?? 1)) },
      }))
    : spec.layers;
  return { ...spec, norm, layers };
}

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
  const name = (p: string): { tensor: string } => {
    const { layer, module, kind } = layerParameter(p)!;
    return { tensor: `blk.${layer}.${architecture.norms?.[module] ?? ggufModules[module] ?? module}.${kind}` };
  };
  if (!ggufModules[part.module] && !architecture.norms?.[part.module]) return null;
  if (architecture.fusedAttention)
    return fusedSource(parameter, spec, name, 'attn_qkv', architecture.fusedMlp ? 'ffn_up' : null);
  const heads = part.module === 'self_attn.q_proj' ? spec.heads : part.module === 'self_attn.k_proj' ? spec.kvHeads : 0;
  return architecture.permutedRotary && heads > 0
    ? { ...name(parameter), rows: halvesRows(heads, spec.headDimensions) }
    : name(parameter);
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
  // Only read through a fused tensor.
  attn_qkv: 'attn_qkv',
  ffn_up: 'ffn_up',
};

/** The converter stores pairs (j, j + d/2) of a head side by side: row 2j + s came from row j + s·d/2. */
function halvesRows(heads: number, d: number): Int32Array {
  const half = d / 2;
  return Int32Array.from({ length: heads * d }, (_, i) => {
    const head = Math.trunc(i / d);
    const within = i % d;
    return head * d + 2 * (within % half) + Math.trunc(within / half);
  });
}
