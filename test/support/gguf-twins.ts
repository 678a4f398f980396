/**
 * GGUF twins of golden safetensors models, in float32, written by the conventions of llama.cpp's converter (convert_hf_to_gguf.py)
 * and its names (gguf-py): independent of how this program reads either.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { dequantise } from '../../backend/formats/dequantise.ts';
import { openSafetensors } from '../../backend/formats/safetensors.ts';
import { gguf, text, u32, u64 } from '../unit/formats/fixtures.ts';
import { fixtures } from './golden.ts';

type Config = Readonly<Record<string, number & string & boolean & Readonly<Record<string, number>>>>;

interface Matrix {
  readonly name: string;
  /** Outermost first. */
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

interface Twin {
  readonly architecture: string;
  /** Metadata of this architecture alone; floats have a point in their name's second part. */
  readonly keys: (config: Config) => Readonly<Record<string, number | string | boolean>>;
  /** Names that differ from the common ones. */
  readonly names?: Readonly<Record<string, string>>;
  /** What the converter changes in a tensor; several come out of one that is split. */
  readonly change?: (tensor: Matrix, config: Config) => Matrix[];
}

const commonNames: Readonly<Record<string, string>> = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  'model.final_layernorm': 'output_norm',
  lm_head: 'output',
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.dense': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'self_attn.sinks': 'attn_sinks',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  'mlp.fc1': 'ffn_up',
  'mlp.fc2': 'ffn_down',
  'mlp.gate_up_proj': 'ffn_up',
  'mlp.gate': 'ffn_gate_inp',
  'mlp.router': 'ffn_gate_inp',
  'block_sparse_moe.gate': 'ffn_gate_inp',
  'block_sparse_moe.router.layer': 'ffn_gate_inp',
  'mlp.experts.gate_proj': 'ffn_gate_exps',
  'mlp.experts.up_proj': 'ffn_up_exps',
  'mlp.experts.down_proj': 'ffn_down_exps',
  'block_sparse_moe.experts.w1': 'ffn_gate_exps',
  'block_sparse_moe.experts.w3': 'ffn_up_exps',
  'block_sparse_moe.experts.w2': 'ffn_down_exps',
  'block_sparse_moe.output_linear': 'ffn_down_exps',
  'mlp.shared_expert.gate_proj': 'ffn_gate_shexp',
  'mlp.shared_expert.up_proj': 'ffn_up_shexp',
  'mlp.shared_expert.down_proj': 'ffn_down_shexp',
  'mlp.shared_expert_gate': 'ffn_gate_inp_shexp',
};

const layerNorm = (c: Config) => ({ 'attention.layer_norm_epsilon': c['layer_norm_eps']! });
const rmsNorm = (c: Config) => ({ 'attention.layer_norm_rms_epsilon': c['rms_norm_eps']! });
const rotated = (c: Config) => ({
  'rope.dimension_count': Math.trunc(
    c['partial_rotary_factor']! * (c['head_dim'] ?? c['hidden_size']! / c['num_attention_heads']!),
  ),
});
const experts = (c: Config) => ({
  expert_count: c['num_experts'] ?? c['num_local_experts']!,
  expert_used_count: c['num_experts_per_tok']!,
});

/** `LlamaModel.permute`: rows of a head's halves (j, j + d/2) become neighbours. */
function permuted(tensor: Matrix, config: Config): Matrix[] {
  const which = /self_attn\.(q|k)_proj\.weight$/.exec(tensor.name)?.[1];
  if (which === undefined) return [tensor];
  const heads = config[which === 'q' ? 'num_attention_heads' : 'num_key_value_heads']!;
  const [rows, columns] = tensor.shape as [number, number];
  const d = rows / heads;
  const values = new Float32Array(tensor.values.length);
  for (let row = 0; row < rows; row++) {
    const [head, within] = [Math.trunc(row / d), row % d];
    const to = head * d + 2 * (within % (d / 2)) + Math.trunc(within / (d / 2));
    values.set(tensor.values.subarray(row * columns, (row + 1) * columns), to * columns);
  }
  return [{ ...tensor, values }];
}

/** Gates and ups of all experts, `[experts, 2 · width, …]`, apart; `place` says which row is which. */
function split(tensor: Matrix, place: (row: number, width: number) => { isUp: boolean; at: number }): Matrix[] {
  const [count, both, ...rest] = tensor.shape as [number, number, ...number[]];
  const [width, columns] = [both / 2, rest[0] ?? 1];
  const halves = [new Float32Array(tensor.values.length / 2), new Float32Array(tensor.values.length / 2)] as const;
  for (let e = 0; e < count; e++)
    for (let row = 0; row < both; row++) {
      const { isUp, at } = place(row, width);
      const from = (e * both + row) * columns;
      halves[Number(isUp)]!.set(tensor.values.subarray(from, from + columns), (e * width + at) * columns);
    }
  return halves.map((values, i) => ({
    name: tensor.name.replace(
      /block_sparse_moe\.input_linear|mlp\.experts\.gate_up_proj/,
      `mlp.experts.${i ? 'up' : 'gate'}_proj`,
    ),
    shape: [count, width, ...rest],
    values,
  }));
}

/** `[experts, a, b]` → `[experts, b, a]`. */
function transposed({ name, shape, values }: Matrix): Matrix {
  const [count, a, b] = shape as [number, number, number];
  const out = new Float32Array(values.length);
  for (let e = 0; e < count; e++)
    for (let i = 0; i < a; i++) for (let j = 0; j < b; j++) out[(e * b + j) * a + i] = values[(e * a + i) * b + j]!;
  return { name, shape: [count, b, a], values: out };
}

export const twins: Readonly<Record<string, Twin>> = {
  cohere: {
    architecture: 'command-r',
    keys: (c) => ({ ...layerNorm(c), logit_scale: c['logit_scale']! }),
  },
  gemma: {
    architecture: 'gemma',
    keys: (c) => ({ ...rmsNorm(c), 'attention.key_length': c['head_dim']!, 'attention.value_length': c['head_dim']! }),
    change: (tensor) => [
      /norm\.weight$/.test(tensor.name) ? { ...tensor, values: tensor.values.map((x) => x + 1) } : tensor,
    ],
  },
  glm4: {
    architecture: 'glm4',
    keys: (c) => ({
      ...rmsNorm(c),
      ...rotated(c),
      'attention.key_length': c['head_dim']!,
      'attention.value_length': c['head_dim']!,
    }),
    names: { post_self_attn_layernorm: 'post_attention_norm', post_mlp_layernorm: 'post_ffw_norm' },
  },
  phi: { architecture: 'phi2', keys: (c) => ({ ...layerNorm(c), ...rotated(c) }) },
  stablelm: {
    architecture: 'stablelm',
    // True as the converter has it if the config says nothing, which means false there; llama.cpp does not read it.
    keys: (c) => ({ ...layerNorm(c), ...rotated(c), use_parallel_residual: true }),
  },
  mixtral: { architecture: 'llama', keys: (c) => ({ ...rmsNorm(c), ...experts(c) }), change: permuted },
  olmoe: { architecture: 'olmoe', keys: (c) => ({ ...rmsNorm(c), ...experts(c) }) },
  qwen2_moe: {
    architecture: 'qwen2moe',
    keys: (c) => ({
      ...rmsNorm(c),
      ...experts(c),
      expert_feed_forward_length: c['moe_intermediate_size']!,
      expert_shared_feed_forward_length: c['shared_expert_intermediate_size']!,
    }),
  },
  granitemoe: {
    architecture: 'granitemoe',
    keys: (c) => ({
      ...rmsNorm(c),
      ...experts(c),
      'attention.scale': c['attention_multiplier']!,
      embedding_scale: c['embedding_multiplier']!,
      residual_scale: c['residual_multiplier']!,
      logit_scale: c['logits_scaling']!,
    }),
    change: (tensor, config) =>
      tensor.name.includes('input_linear')
        ? split(tensor, (row, width) => ({ isUp: row >= width, at: row % width }))
        : permuted(tensor, config),
  },
  gpt_oss: {
    architecture: 'gpt-oss',
    keys: (c) => ({
      ...rmsNorm(c),
      ...experts(c),
      expert_feed_forward_length: c['intermediate_size']!,
      'attention.key_length': c['head_dim']!,
      'attention.value_length': c['head_dim']!,
      'attention.sliding_window': c['sliding_window']!,
      'rope.scaling.type': 'yarn',
      'rope.scaling.factor': c['rope_scaling']!['factor'],
      'rope.scaling.original_context_length': c['rope_scaling']!['original_max_position_embeddings'],
    }),
    names: { post_attention_layernorm: 'post_attention_norm' },
    change(tensor) {
      const isBias = tensor.name.endsWith('_bias');
      const name = isBias
        ? tensor.name.replace('_bias', '.bias')
        : tensor.name.replace(/(sinks|experts\.\w+_proj)$/, '$1.weight');
      const named = { ...tensor, name };
      if (!name.includes('.experts.')) return [named];
      const upright = isBias ? named : transposed(named);
      if (!name.includes('gate_up_proj')) return [upright];
      return split(upright, (row) => ({ isUp: row % 2 === 1, at: row >> 1 }));
    },
  },
};

/** The GGUF file of a golden model. */
export function ggufTwin(family: string): Buffer {
  const twin = twins[family]!;
  const folder = join(fixtures, 'tiny', family);
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Config;
  const tensors = stacked(tensorsOf(folder)).flatMap((tensor) => twin.change?.(tensor, config) ?? [tensor]);
  let offset = 0;
  const placed = tensors.map((tensor) => {
    // A matrix of one row is a vector there.
    const shape = tensor.shape.length === 2 && tensor.shape[0] === 1 ? tensor.shape.slice(1) : tensor.shape;
    const at = { name: ggufName(tensor.name, twin), dimensions: [...shape].reverse(), type: 0, offset };
    offset += Math.ceil(tensor.values.byteLength / 32) * 32;
    return { at, values: tensor.values };
  });
  const data = new Uint8Array(offset);
  for (const { at, values } of placed)
    data.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at.offset);
  return gguf({ entries: entries(twin, config), tensors: placed.map(({ at }) => at), data });
}

function tensorsOf(folder: string): Matrix[] {
  const source = openSafetensors(folder);
  const all = [...source.tensors.values()].map((tensor) => {
    const count = tensor.shape.reduce((a, b) => a * b, 1);
    return { name: tensor.name, shape: tensor.shape, values: dequantise(tensor.type, source.read(tensor), count) };
  });
  source.close();
  return all;
}

/** Tensors of single experts, `….experts.3.up_proj.weight`, as one: `….experts.up_proj.weight`. */
function stacked(tensors: readonly Matrix[]): Matrix[] {
  const stacks = new Map<string, Matrix[]>();
  const whole: Matrix[] = [];
  for (const tensor of tensors) {
    const match = /^(.*\.experts)\.(\d+)(\..*)$/.exec(tensor.name);
    if (!match) whole.push(tensor);
    else {
      const name = `${match[1]}${match[3]}`;
      const stack = stacks.get(name) ?? [];
      stack[Number(match[2])] = tensor;
      stacks.set(name, stack);
    }
  }
  for (const [name, stack] of stacks)
    whole.push({
      name,
      shape: [stack.length, ...stack[0]!.shape],
      values: Float32Array.from(stack.flatMap(({ values }) => [...values])),
    });
  return whole;
}

function ggufName(name: string, { names }: Twin): string {
  const [, layer, module, kind] = /^(?:model\.layers\.(\d+)\.)?(.*)\.(weight|bias)$/.exec(name)!;
  const known = names?.[module!] ?? commonNames[module!];
  if (known === undefined) throw new Error(`no name for ${name}`);
  return layer === undefined ? `${known}.${kind}` : `blk.${layer}.${known}.${kind}`;
}

function entries({ architecture, keys }: Twin, config: Config): [string, number, Buffer][] {
  const vocabulary = config['vocab_size']!;
  const counts: Readonly<Record<string, number>> = {
    block_count: config['num_hidden_layers']!,
    context_length: config['max_position_embeddings']!,
    embedding_length: config['hidden_size']!,
    feed_forward_length: config['intermediate_size']!,
    'attention.head_count': config['num_attention_heads']!,
    'attention.head_count_kv': config['num_key_value_heads']!,
    vocab_size: vocabulary,
  };
  const own = { ...keys(config), 'rope.freq_base': config['rope_theta']! };
  const value = (key: string, is: number | string | boolean): [string, number, Buffer] => {
    const name = `${architecture}.${key}`;
    if (typeof is === 'string') return [name, 8, text(is)];
    if (typeof is === 'boolean') return [name, 7, Buffer.from([Number(is)])];
    const isCount = /_count$|_count_kv$|_length$|_window$|vocab_size$/.test(key);
    return isCount ? [name, 4, u32(is)] : [name, 6, Buffer.from(new Float32Array([is]).buffer)];
  };
  const list = (type: number, items: readonly Buffer[]): Buffer =>
    Buffer.concat([u32(type), u64(items.length), ...items]);
  const ids = [...Array(vocabulary).keys()];
  return [
    ['general.architecture', 8, text(architecture)],
    ...Object.entries({ ...counts, ...own }).map(([key, is]) => value(key, is)),
    // So that llama.cpp opens it.
    ['tokenizer.ggml.model', 8, text('gpt2')],
    ['tokenizer.ggml.pre', 8, text('smollm')],
    [
      'tokenizer.ggml.tokens',
      9,
      list(
        8,
        ids.map((id) => text(`t${id}`)),
      ),
    ],
    [
      'tokenizer.ggml.token_type',
      9,
      list(
        5,
        ids.map(() => u32(1)),
      ),
    ],
    [
      'tokenizer.ggml.merges',
      9,
      list(
        8,
        ids.slice(0, 10).map((id) => text(`t ${id}`)),
      ),
    ],
    ['tokenizer.ggml.bos_token_id', 4, u32(1)],
    ['tokenizer.ggml.eos_token_id', 4, u32(2)],
  ];
}
