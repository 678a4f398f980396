/** Configurations that no model has: each is refused with one sentence that names the file and the key, none becomes numbers. */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openGguf } from '../../../backend/formats/gguf.ts';
import { writeGguf } from '../../../backend/formats/gguf-writer.ts';
import type { TensorData } from '../../../backend/formats/safetensors.ts';
import { ggufModel, type GgufFacts } from '../../../backend/model/families/gguf.ts';
import { openModel } from '../../../backend/model/open.ts';
import { Config } from '../../../backend/model/families/config.ts';
import { gemma3 } from '../../../backend/model/families/gemma3.ts';
import { familyOf } from '../../../backend/model/families/index.ts';
import type { ModelSpec } from '../../../backend/model/spec.ts';
import { caught, file, gguf, temporaryFolder, text, u32, u64 } from '../formats/fixtures.ts';
import { ggufTwin } from '../../support/gguf-twins.ts';
import { fixtures } from '../../support/golden.ts';

/** A tiny model of a family with some of its configuration replaced. */
function withConfig(family: string, change: object): string {
  const from = join(fixtures, 'tiny', family);
  const folder = temporaryFolder();
  copyFileSync(join(from, 'model.safetensors'), join(folder, 'model.safetensors'));
  const config = JSON.parse(readFileSync(join(from, 'config.json'), 'utf8')) as object;
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, ...change }));
  return folder;
}

const llama3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 64,
};
let deep: unknown = 1;
for (let i = 0; i < 200; i++) deep = [deep];

describe('config.json', () => {
  it.each<[string, object, RegExp]>([
    ['llama-tied', { num_hidden_layers: 2 ** 24 }, /"num_hidden_layers" must be a whole number from 1 to 1024/],
    ['llama-tied', { num_hidden_layers: 900 }, /tensor for "layers\.\d+\.input_layernorm\.weight" is missing/],
    ['llama-tied', { num_hidden_layers: '4' }, /"num_hidden_layers" .* but is "4"/],
    ['llama-tied', { num_hidden_layers: deep }, /"num_hidden_layers" .* but is a list of 1/],
    ['llama-tied', { num_hidden_layers: { a: 1 } }, /"num_hidden_layers" .* but is an object/],
    ['llama-tied', { hidden_size: -64 }, /"hidden_size" must be a whole number from 1/],
    ['llama-tied', { hidden_size: null }, /"hidden_size" .* but is missing/],
    ['llama-tied', { num_attention_heads: 4096, num_key_value_heads: 4096, head_dim: 8192 }, /more than a model has/],
    ['llama-tied', { num_key_value_heads: 3 }, /cannot share 3/],
    ['llama-tied', { head_dim: 7 }, /7 of the 7 dimensions of a head would rotate/],
    ['llama-tied', { partial_rotary_factor: 4 }, /"partial_rotary_factor" must be a number from 0 to 1/],
    ['llama-tied', { partial_rotary_factor: 0 }, /0 of the \d+ dimensions/],
    ['llama-tied', { rope_theta: -1 }, /"rope_theta" must be a number from 1 to/],
    ['llama-tied', { rope_theta: 0 }, /"rope_theta"/],
    ['llama-tied', { rope_parameters: { rope_theta: 1e300 } }, /"rope_theta"/],
    ['llama-tied', { rope_scaling: { type: 'linear', factor: 0 } }, /"factor"/],
    ['llama-tied', { rope_scaling: { type: 'toString' } }, /rotary scaling "toString" is not supported/],
    ['llama-tied', { rope_scaling: [] }, /"rope_scaling" must be an object, but is an empty list/],
    [
      'llama-rope3',
      { rope_scaling: { ...llama3, high_freq_factor: 0.5 } },
      /"high_freq_factor" must be a number from 1/,
    ],
    ['llama-rope3', { rope_scaling: { ...llama3, original_max_position_embeddings: 0 } }, /"original_max_position/],
    ['llama-tied', { rms_norm_eps: -1e-5 }, /"rms_norm_eps" must be a number from 1e-30 to 0.1/],
    ['llama-tied', { rms_norm_eps: 1e308 }, /"rms_norm_eps"/],
    ['gpt2', { layer_norm_epsilon: -1 }, /"layer_norm_epsilon"/],
    ['gpt2', { n_inner: 1.5 }, /"n_inner"/],
    ['gpt2', { scale_attn_by_inverse_layer_idx: true }, /"scale_attn_by_inverse_layer_idx"/],
    ['gpt2', { scale_attn_weights: 'no' }, /"scale_attn_weights" must be true or false/],
    ['gpt_neox', { layer_norm_eps: 0 }, /"layer_norm_eps"/],
    ['gpt_neox', { rotary_pct: 0.2 }, /no pairs/],
    ['gpt_neox', { rotary_pct: 1e9 }, /"rotary_pct"/],
    ['gpt_neox', { rotary_emb_base: -5 }, /"rotary_emb_base"/],
    ['llama-tied', { hidden_act: 'toString' }, /activation "toString" is not supported/],
    ['llama-tied', { hidden_act: '__proto__' }, /activation "__proto__" is not supported/],
    ['llama-tied', { model_type: 'constructor' }, /model type "constructor" is not supported/],
    ['llama-tied', { model_type: 'x'.repeat(1e6) }, /model type "x{80}"… is not supported/],
    ['mistral', { sliding_window: -5 }, /"sliding_window" must be a whole number from 1/],
    ['mistral', { sliding_window: 0 }, /"sliding_window"/],
    ['mistral', { sliding_window: 2.5 }, /"sliding_window"/],
    ['mistral', { layer_types: ['full_attention'] }, /"layer_types" must be a list of \d+ times full_attention or/],
    ['qwen2', { use_sliding_window: true, sliding_window: 8, max_window_layers: -1 }, /"max_window_layers"/],
    ['qwen2', { use_sliding_window: 'yes' }, /"use_sliding_window" must be true or false/],
    ['smollm3', { no_rope_layers: null, no_rope_layer_interval: 0 }, /"no_rope_layer_interval"/],
    ['smollm3', { no_rope_layers: ['a'] }, /"no_rope_layers"/],
    ['gemma3_text', { query_pre_attn_scalar: 0 }, /"query_pre_attn_scalar"/],
    ['gemma3_text', { query_pre_attn_scalar: -64 }, /"query_pre_attn_scalar"/],
    ['gemma3_text', { final_logit_softcapping: 0 }, /"final_logit_softcapping"/],
    ['gemma3_text', { sliding_window: -5 }, /"sliding_window"/],
    ['gemma3_text', { layer_types: null, sliding_window_pattern: 0 }, /"sliding_window_pattern"/],
    ['gemma3_text', { rope_local_base_freq: 0 }, /"rope_local_base_freq"/],
    ['qwen3_moe', { num_experts: 4 }, /"layers\.0\.mlp\.gate\.weight" has shape \[8, 48\], but .* says \[4, 48\]/],
    ['qwen3_moe', { num_experts: null }, /"num_local_experts" .* is missing/],
    ['qwen3_moe', { num_experts: 1e9 }, /"num_experts" must be a whole number from 1 to 4096/],
    ['qwen3_moe', { num_experts_per_tok: 9 }, /"num_experts_per_tok" must be a whole number from 1 to 8/],
    [
      'qwen3_moe',
      { moe_intermediate_size: 27 },
      /"model\.layers\.0\.mlp\.experts\.0\.gate_proj\.weight" has shape \[28, 48\]/,
    ],
    ['qwen3_moe', { num_experts: 4096, moe_intermediate_size: 2 ** 20 }, /are more than a model has/],
    ['qwen3_moe', { mlp_only_layers: [3] }, /"mlp_only_layers" must be a list of whole numbers from 0 to 2/],
    ['qwen3_moe', { mlp_only_layers: [1] }, /tensor for "layers\.1\.mlp\.gate_proj\.weight" is missing/],
    ['qwen2_moe', { shared_expert_intermediate_size: 50 }, /shared_expert\.gate_proj\.weight" has shape \[52, 48\]/],
    [
      'granitemoe',
      { intermediate_size: 27 },
      /block_sparse_moe\.input_linear\.weight" has shape \[8, 56, 48\], but .* \[8, 54, 48\]/,
    ],
    ['gpt_oss', { intermediate_size: 31 }, /mlp\.experts\.gate_up_proj" has shape \[6, 48, 64\], but .* \[6, 48, 62\]/],
    ['olmoe', { clip_qkv: 8 }, /"clip_qkv"/],
    ['llama-tied', { quantization_config: { quant_method: 'fp8' } }, /quantised by "fp8" \("quantization_config"\)/],
    ['llama-tied', { quantization_config: { quant_method: 'awq', bits: 4 } }, /quantised by "awq"/],
    ['llama-tied', { quantization_config: { load_in_8bit: true } }, /quantised by "something"/],
    [
      'qwen3_moe',
      { model_type: 'deepseek_v3', kv_lora_rank: 512, n_group: 8 },
      /"deepseek_v3" is not supported: it has latent attention and experts chosen in groups.* nearest that is: mixtral/,
    ],
    [
      'llama-tied',
      { model_type: 'qwen3_next', linear_num_key_heads: 16 },
      /linear attention, .* nearest that is: qwen3_moe/,
    ],
    [
      'ministral3',
      { model_type: 'mistral3', text_config: { model_type: 'mistral4', kv_lora_rank: 256 } },
      /language part "mistral4" is not supported: it has latent attention.* nearest that is: mistral/,
    ],
    ['llama-tied', { model_type: 'lama' }, /"lama" is not supported: no family here says .* nearest that is: llama/],
  ])('%s with %j', (family, change, message) => {
    const folder = withConfig(family, change);
    const error = caught(() => openModel(folder).close());
    expect(error.message).toMatch(message);
    expect(error.message).toContain(folder);
    expect(error.message.length).toBeLessThan(500);
  });

  it('takes the scores of a GPT-2 as they are where it says so', () => {
    const model = openModel(withConfig('gpt2', { scale_attn_weights: false }));
    expect(model.spec.attentionScale).toBe(1);
    model.close();
  });

  it('knows what the configuration of a Gemma 3 with pictures leaves unsaid of its text', () => {
    const specOf = (text: object): ModelSpec => {
      const spec = gemma3.spec(new Config('config.json', { text_config: text }));
      // An export of it is the text alone.
      expect(gemma3.spec(new Config('config.json', { ...text }))).toEqual(spec);
      return spec;
    };
    const scaled = { rope_scaling: { factor: 8, rope_type: 'linear' }, sliding_window: 1024 };
    const small = specOf({ hidden_size: 2560, intermediate_size: 10240, num_hidden_layers: 34, ...scaled });
    expect(small).toMatchObject({ vocabulary: 262_208, hidden: 2560, feedForward: 10240, contextLength: 131_072 });
    expect(small).toMatchObject({ heads: 8, kvHeads: 4, headDimensions: 256, attentionScale: 1 / 16, tied: true });
    expect(small.layers.map(({ window }) => window).slice(4, 7)).toEqual([1024, null, 1024]);
    // Of 27 billion: its scores are divided by what is no head's width.
    const sizes = { hidden_size: 5376, intermediate_size: 21504, num_attention_heads: 32, num_key_value_heads: 16 };
    const large = specOf({ ...sizes, num_hidden_layers: 62, head_dim: 128, query_pre_attn_scalar: 168, ...scaled });
    expect(large).toMatchObject({ vocabulary: 262_208, kvHeads: 16, headDimensions: 128, attentionScale: 168 ** -0.5 });
  });

  const specOf = (family: string, change: object): ModelSpec => {
    const config = JSON.parse(readFileSync(join(fixtures, 'tiny', family, 'config.json'), 'utf8')) as object;
    const changed = new Config('config.json', { ...config, ...change });
    return familyOf(changed).spec(changed);
  };
  const windowsOf = (family: string, change: object) =>
    specOf(family, { use_sliding_window: true, sliding_window: 8, ...change }).layers.map(({ window }) => window);

  it('takes the head of a SmolLM3 for its embedding if nothing is said: version 4 of Transformers does not write it', () => {
    expect(specOf('smollm3', { tie_word_embeddings: null }).tied).toBe(true);
    expect(specOf('smollm3', { tie_word_embeddings: false }).tied).toBe(false);
  });

  it('puts windows where Transformers does if the layers are not named', () => {
    expect(windowsOf('qwen2', { max_window_layers: 2 })).toEqual([null, null, 8, 8]);
    for (const family of ['qwen2', 'qwen3']) {
      const deep = windowsOf(family, { max_window_layers: null, num_hidden_layers: 30 });
      expect(deep).toEqual([...Array<null>(28).fill(null), 8, 8]);
    }
    expect(windowsOf('smollm3', {})).toEqual([null, null, null, 8]);
    expect(windowsOf('smollm3', { no_rope_layers: [0, 1, 1, 0] })).toEqual([8, null, null, 8]);
    const layer_types = ['sliding_attention', 'full_attention', 'full_attention', 'full_attention'];
    expect(windowsOf('smollm3', { layer_types })).toEqual([8, null, null, null]);
  });

  it('does not take what every object has for a value', () => {
    expect(caught(() => openModel(withConfig('llama-tied', { toString: 1, hidden_act: 'valueOf' }))).message).toMatch(
      /activation "valueOf"/,
    );
  });
});

describe('GGUF metadata', () => {
  /** A file with an embedding and whatever the metadata says. */
  const withMetadata = (...entries: [string, number, Buffer][]): string =>
    file(
      temporaryFolder(),
      'model.gguf',
      gguf({
        entries,
        tensors: [{ name: 'token_embd.weight', dimensions: [8, 4], type: 0, offset: 0 }],
        data: new Uint8Array(128),
      }),
    );
  const llama = (blocks: number): [string, number, Buffer][] => [
    ['general.architecture', 8, text('llama')],
    ['llama.block_count', 4, u32(blocks)],
    ['llama.embedding_length', 4, u32(8)],
    ['llama.feed_forward_length', 4, u32(8)],
    ['llama.attention.head_count', 4, u32(2)],
  ];

  it.each<[string, [string, number, Buffer][], RegExp]>([
    ['an absurd count of layers', llama(2 ** 24), /"num_hidden_layers" must be a whole number from 1 to 1024/],
    ['layers without tensors', llama(1000), /tensor for "layers.0.input_layernorm.weight" is missing/],
    ['an architecture of the prototype', [['general.architecture', 8, text('toString')]], /architecture "toString"/],
    ['an architecture that is a number', [['general.architecture', 10, u64(1)]], /architecture "" is not supported/],
    [
      'a rotary width beyond the head',
      [...llama(1), ['llama.rope.dimension_count', 4, u32(8)]],
      /"partial_rotary_factor" must be a number from 0 to 1/,
    ],
    [
      'an architecture with what none has',
      [
        ['general.architecture', 8, text('deepseek2')],
        ['deepseek2.attention.kv_lora_rank', 4, u32(512)],
        ['deepseek2.expert_count', 4, u32(64)],
      ],
      /architecture "deepseek2" is not supported: it has latent attention, .* nearest that is: llama/,
    ],
    [
      'more chosen experts than there are',
      [...llama(1), ['llama.expert_count', 4, u32(2)], ['llama.expert_used_count', 4, u32(3)]],
      /"num_experts_per_tok" must be a whole number from 1 to 2/,
    ],
    [
      'OLMo 3, which looks near in most layers',
      [
        ['general.architecture', 8, text('olmo2')],
        ['olmo2.attention.sliding_window', 4, u32(4096)],
      ],
      /"olmo2" with "attention.sliding_window" is OLMo 3, which is not supported/,
    ],
    [
      'Granite with a shared expert',
      [
        ['general.architecture', 8, text('granitemoe')],
        ['granitemoe.expert_shared_feed_forward_length', 4, u32(8)],
      ],
      /"granitemoe" with "expert_shared_feed_forward_length" is Granite with a shared expert/,
    ],
    [
      'a GLM with vision, whose queries are in another order',
      [
        ['general.architecture', 8, text('glm4')],
        ['glm4.rope.dimension_sections', 9, Buffer.concat([u32(4), u64(4), ...[8, 12, 12, 0].map(u32)])],
      ],
      /"glm4" with "rope.dimension_sections" is a GLM with vision, which is not supported/,
    ],
    [
      'layers whose heads differ',
      [
        ...llama(2).filter(([key]) => key !== 'llama.attention.head_count'),
        ['llama.attention.head_count', 9, Buffer.concat([u32(4), u64(2), u32(2), u32(4)])],
      ],
      /"num_attention_heads" must be a whole number from 1/,
    ],
    ['an odd rotary width', [...llama(1), ['llama.rope.dimension_count', 4, u32(3)]], /3 of the 4 dimensions/],
  ])('refuses %s', (_, entries, message) => {
    expect(caught(() => openModel(withMetadata(...entries)).close()).message).toMatch(message);
  });

  const specOf = (architecture: string, words: object): ModelSpec => {
    const entries = Object.entries(words).map(([key, value]) => [`${architecture}.${key}`, value as unknown] as const);
    const metadata = new Map<string, unknown>([['general.architecture', architecture], ...entries]);
    const facts: GgufFacts = { file: 'x', metadata, vocabulary: 8, hasTensor: () => false, vector: () => null };
    return ggufModel(facts).spec;
  };

  it.each([
    ['gemma2', 46, 144],
    ['gemma2', 42, 128],
    ['gemma3', 62, 144],
    ['gemma3', 48, 128],
  ])('knows how the largest Gemma scales its scores: %s of %i layers by %i', (architecture, layers, scaled) => {
    const words = {
      embedding_length: 4608,
      feed_forward_length: 64,
      block_count: layers,
      'attention.head_count': 32,
      'attention.key_length': 128,
    };
    expect(specOf(architecture, words).attentionScale).toBeCloseTo(scaled ** -0.5, 12);
  });

  it.each([
    [{ 'rope.scaling.type': 'linear', 'rope.scaling.factor': 4 }, 0.25],
    [{ 'rope.scaling.factor': 4 }, 0.25],
    [{ 'rope.scale_linear': 4 }, 0.25],
    [{ 'rope.scale_linear': 4, 'rope.scaling.factor': 2 }, 0.5],
    [{ 'rope.scaling.type': 'none', 'rope.scaling.factor': 4 }, 1],
    [{ 'rope.scaling.factor': 0 }, 1],
    [{}, 1],
  ])('scales rotations as llama.cpp does: %j', (scaling, first) => {
    const words = { embedding_length: 8, feed_forward_length: 8, block_count: 1, 'attention.head_count': 2 };
    expect(specOf('llama', { ...words, ...scaling }).layers[0]!.rope!.inverseFrequencies[0]).toBe(first);
  });

  it.each([
    ['by default', { 'attention.sliding_window': 4 }, [4, 4, 4, 4, 4, null], 1],
    ['by a number', { 'attention.sliding_window': 4, 'attention.sliding_window_pattern': 2 }, [4, null, 4, null, 4, null], 1], // prettier-ignore
    ['by a flag for each', { 'attention.sliding_window': 4, 'attention.sliding_window_pattern': Uint8Array.of(1, 1, 0, 1, 1, 0) }, [4, 4, null, 4, 4, null], 1], // prettier-ignore
    ['without a window', {}, [null, null, null, null, null, null], 1],
    ['with vision, whose files may not name the scaling', { 'attention.sliding_window': 4, 'vision.block_count': 27 }, [4, 4, 4, 4, 4, null], 0.125], // prettier-ignore
    ['with vision and a scaling', { 'attention.sliding_window': 4, 'vision.block_count': 27, 'rope.scaling.factor': 2 }, [4, 4, 4, 4, 4, null], 0.5], // prettier-ignore
  ])('knows the local layers of a Gemma 3, %s', (_, keys, windows, scaled) => {
    const words = {
      embedding_length: 8,
      feed_forward_length: 8,
      block_count: 6,
      'attention.head_count': 2,
      'attention.head_count_kv': 1,
      'rope.freq_base_swa': 10_000,
    };
    const { layers } = specOf('gemma3', { ...words, ...keys });
    expect(layers.map(({ window }) => window)).toEqual(windows);
    const first = layers.map(({ rope }) => rope!.inverseFrequencies[0]);
    expect(first).toEqual(windows.map((window) => (window === null ? scaled : 1)));
  });

  it('knows how wide an expert is where only the width of all that are used is named', () => {
    const words = { embedding_length: 8, feed_forward_length: 24, block_count: 1, 'attention.head_count': 2 };
    const of = (more: object) => specOf('qwen2moe', { ...words, expert_count: 6, expert_used_count: 3, ...more });
    expect(of({})).toEqual(of({ expert_feed_forward_length: 8 }));
    expect(of({})).not.toEqual(of({ expert_feed_forward_length: 24 }));
  });

  it('takes a list of equal numbers, one for each layer, for that number', () => {
    const words = { embedding_length: 8, feed_forward_length: 8, block_count: 3, 'attention.head_count': 2 };
    const perLayer = (each: number): Uint32Array => new Uint32Array(3).fill(each);
    const lists = {
      feed_forward_length: perLayer(8),
      'attention.head_count': perLayer(2),
      'attention.head_count_kv': perLayer(1),
    };
    expect(specOf('granite', { ...words, ...lists })).toEqual(
      specOf('granite', { ...words, 'attention.head_count_kv': 1 }),
    );
  });

  type Read = TensorData & { readonly bytes: Uint8Array };
  /** The twin of a tiny model, with other tensors. */
  function twinWith(family: string, change: (tensors: readonly Read[]) => readonly Read[]): string {
    const base = openGguf(file(temporaryFolder(), 'twin.gguf', ggufTwin(family)));
    const entries = [...base.metadata.keys()].map((key) => ({ key, encoded: base.metadata.encoded(key) }));
    const path = join(temporaryFolder(), 'model.gguf');
    const tensors = [...base.tensors.values()].map((tensor) => ({ ...tensor, bytes: base.read(tensor) }));
    writeGguf(path, entries, change(tensors));
    base.close();
    return path;
  }

  it('takes a StableLM for parallel by its norms alone', () => {
    const plain = openModel(twinWith('stablelm', (tensors) => tensors));
    const parallel = openModel(
      twinWith('stablelm', (tensors) => tensors.filter(({ name }) => !name.includes('.ffn_norm.'))),
    );
    expect([plain, parallel].map(({ spec }) => spec.parallelResidual)).toEqual([false, true]);
    for (const kind of ['weight', 'bias']) {
      const [attention, mlp] = ['input', 'post_attention'].map((which) => `layers.1.${which}_layernorm.${kind}`);
      expect(parallel.parameters.values(mlp!)).toEqual(parallel.parameters.values(attention!));
      expect(plain.parameters.values(mlp!)).not.toEqual(plain.parameters.values(attention!));
    }
    plain.close();
    parallel.close();
  });

  it('reads q, k and v of a Phi 2 from one tensor, as the first files have them', () => {
    const fuse = (tensors: readonly Read[]): Read[] =>
      tensors.flatMap((tensor): Read[] => {
        if (/\.attn_[kv]\./.test(tensor.name)) return [];
        if (!tensor.name.includes('.attn_q.')) return [tensor];
        const names = ['q', 'k', 'v'].map((which) => tensor.name.replace('attn_q', `attn_${which}`));
        const parts = names.map((name) => tensors.find((each) => each.name === name)!);
        const rows = parts.reduce((sum, { shape }) => sum + shape[0]!, 0);
        return [
          {
            ...tensor,
            name: tensor.name.replace('attn_q', 'attn_qkv'),
            shape: [rows, ...tensor.shape.slice(1)],
            bytes: Buffer.concat(parts.map(({ bytes }) => bytes)),
          },
        ];
      });
    const apart = openModel(twinWith('phi', (tensors) => tensors));
    const fused = openModel(twinWith('phi', fuse));
    expect(fused.stored.tensors.tensors.has('blk.2.attn_q.weight')).toBe(false);
    for (const which of ['q', 'k', 'v'])
      for (const kind of ['weight', 'bias']) {
        const name = `layers.2.self_attn.${which}_proj.${kind}`;
        expect(fused.parameters.values(name)).toEqual(apart.parameters.values(name));
      }
    apart.close();
    fused.close();
  });

  it.each([
    ['blk.0.ffn_gate_shexp.weight', /"blk.0.ffn_gate_shexp.weight" is no parameter of the family llama/],
    ['blk.0.attn_q.scale', /"blk.0.attn_q.scale"/],
    ['blk.9.attn_q.weight', /"blk.9.attn_q.weight"/],
    ['rope_factors.weight', null],
  ] as const)('refuses what of a layer nothing reads: %s', (name, refusal) => {
    const base = openGguf(join(fixtures, 'gguf', 'llama-f16.gguf'));
    const entries = [...base.metadata.keys()].map((key) => ({ key, encoded: base.metadata.encoded(key) }));
    const tensors = [...base.tensors.values()].map((tensor) => ({ ...tensor, bytes: base.read(tensor) }));
    const path = join(temporaryFolder(), 'model.gguf');
    writeGguf(path, entries, [...tensors, { name, type: 'F32', shape: [1], bytes: new Uint8Array(4) }]);
    base.close();
    if (refusal === null) openModel(path).close();
    else expect(caught(() => openModel(path)).message).toMatch(refusal);
  });
});
