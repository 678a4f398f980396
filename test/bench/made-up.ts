/**
 * A made-up model in the shape of Qwen3-Coder-30B-A3B, cut to 8 layers, in random Q4_K blocks: as large and as fast as a real one,
 * and it says nothing. Written as GGUF into the bench's cache.
 */
import { closeSync, openSync, renameSync, writeSync } from 'node:fs';

export const madeUpShape = {
  layers: 8,
  hidden: 2048,
  heads: 32,
  kvHeads: 4,
  headDimensions: 128,
  experts: 128,
  chosen: 8,
  feedForward: 768,
  vocabulary: 151_936,
} as const;

const alignment = 32;
/** Codes of ggml_type. */
const [f32, q4k] = [0, 12];
const block = { elements: 256, bytes: 144 };

interface Tensor {
  readonly name: string;
  /** Innermost first. */
  readonly shape: readonly number[];
  readonly type: number;
}

/** Writes the model, about 3 GB. */
export function writeMadeUpModel(file: string): void {
  const all = tensors();
  const fresh = `${file}.fresh`;
  const out = openSync(fresh, 'w');
  try {
    writeAll(out, header(all));
    const noise = randomBlocks(1 << 16);
    for (const tensor of all) writeTensor(out, tensor, noise);
  } finally {
    closeSync(out);
  }
  renameSync(fresh, file);
}

function tensors(): Tensor[] {
  const { layers, hidden, heads, kvHeads, headDimensions: d, experts, feedForward, vocabulary } = madeUpShape;
  const matrix = (name: string, ...shape: number[]): Tensor => ({ name: `${name}.weight`, shape, type: q4k });
  const plain = (name: string, ...shape: number[]): Tensor => ({ name: `${name}.weight`, shape, type: f32 });
  return [
    matrix('token_embd', hidden, vocabulary),
    plain('output_norm', hidden),
    matrix('output', hidden, vocabulary),
    ...Array.from({ length: layers }, (_, i) => [
      plain(`blk.${i}.attn_norm`, hidden),
      matrix(`blk.${i}.attn_q`, hidden, heads * d),
      matrix(`blk.${i}.attn_k`, hidden, kvHeads * d),
      matrix(`blk.${i}.attn_v`, hidden, kvHeads * d),
      matrix(`blk.${i}.attn_output`, heads * d, hidden),
      plain(`blk.${i}.attn_q_norm`, d),
      plain(`blk.${i}.attn_k_norm`, d),
      plain(`blk.${i}.ffn_norm`, hidden),
      plain(`blk.${i}.ffn_gate_inp`, hidden, experts),
      matrix(`blk.${i}.ffn_gate_exps`, hidden, feedForward, experts),
      matrix(`blk.${i}.ffn_up_exps`, hidden, feedForward, experts),
      matrix(`blk.${i}.ffn_down_exps`, feedForward, hidden, experts),
    ]).flat(),
  ];
}

const elementsOf = ({ shape }: Tensor): number => shape.reduce((a, b) => a * b, 1);
const bytesOf = (tensor: Tensor): number =>
  tensor.type === f32 ? 4 * elementsOf(tensor) : (elementsOf(tensor) / block.elements) * block.bytes;
const padding = (length: number): Uint8Array => new Uint8Array((alignment - (length % alignment)) % alignment);

function writeTensor(out: number, tensor: Tensor, noise: Uint8Array): void {
  const bytes = bytesOf(tensor);
  if (tensor.type === q4k)
    for (let left = bytes; left > 0; left -= noise.length)
      writeAll(out, noise.subarray(0, Math.min(left, noise.length)));
  else writeAll(out, new Uint8Array(plainValues(tensor).buffer));
  writeAll(out, padding(bytes));
}

/** Gains are one; a router scores its experts by chance. */
const plainValues = (tensor: Tensor): Float32Array => {
  const next = randomNumbers();
  return Float32Array.from({ length: elementsOf(tensor) }, () => (tensor.shape.length === 1 ? 1 : next() - 0.5));
};

/** Blocks of random bits whose scales are small and whose mean is about zero. */
function randomBlocks(count: number): Uint8Array {
  const next = randomNumbers();
  const bytes = Uint8Array.from({ length: count * block.bytes }, () => Math.trunc(256 * next()));
  const view = new DataView(bytes.buffer);
  for (let p = 0; p < bytes.length; p += block.bytes) {
    view.setUint16(p, 0x0180, true); // 2.3e-5
    view.setUint16(p + 2, 0x0b40, true); // 7.5 times as much
  }
  return bytes;
}

/** In [0, 1), the same each time. */
function randomNumbers(): () => number {
  let state = 1;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

function header(all: readonly Tensor[]): Uint8Array {
  const shape = madeUpShape;
  const own = (key: string): string => `qwen3moe.${key}`;
  const entries: [string, number, Uint8Array][] = [
    ['general.architecture', 8, text('qwen3moe')],
    [own('block_count'), 4, u32(shape.layers)],
    [own('context_length'), 4, u32(8192)],
    [own('embedding_length'), 4, u32(shape.hidden)],
    [own('feed_forward_length'), 4, u32(6144)],
    [own('attention.head_count'), 4, u32(shape.heads)],
    [own('attention.head_count_kv'), 4, u32(shape.kvHeads)],
    [own('attention.key_length'), 4, u32(shape.headDimensions)],
    [own('attention.value_length'), 4, u32(shape.headDimensions)],
    [own('attention.layer_norm_rms_epsilon'), 6, f32Of(1e-6)],
    [own('rope.freq_base'), 6, f32Of(1e7)],
    [own('expert_count'), 4, u32(shape.experts)],
    [own('expert_used_count'), 4, u32(shape.chosen)],
    [own('expert_feed_forward_length'), 4, u32(shape.feedForward)],
    ['tokenizer.ggml.model', 8, text('gpt2')],
    ['tokenizer.ggml.pre', 8, text('qwen2')],
    [
      'tokenizer.ggml.tokens',
      9,
      list(
        8,
        Array.from({ length: shape.vocabulary }, (_, i) => text(`t${i}`)),
      ),
    ],
    [
      'tokenizer.ggml.token_type',
      9,
      list(
        5,
        Array.from({ length: shape.vocabulary }, () => u32(1)),
      ),
    ],
    ['tokenizer.ggml.merges', 9, list(8, [text('t 0')])],
    ['tokenizer.ggml.eos_token_id', 4, u32(shape.vocabulary - 1)],
  ];
  let offset = 0;
  const infos = all.map((tensor) => {
    const at = offset;
    const bytes = bytesOf(tensor);
    offset += bytes + padding(bytes).length;
    return [text(tensor.name), u32(tensor.shape.length), ...tensor.shape.map(u64), u32(tensor.type), u64(at)];
  });
  const written = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(all.length),
    u64(entries.length),
    ...entries.flatMap(([key, type, value]) => [text(key), u32(type), value]),
    ...infos.flat(),
  ]);
  return Buffer.concat([written, padding(written.length)]);
}

const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const u64 = (value: number): Uint8Array => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
const f32Of = (value: number): Uint8Array => new Uint8Array(Float32Array.of(value).buffer);
const text = (value: string): Uint8Array => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
const list = (type: number, items: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat([u32(type), u64(items.length), ...items]);

function writeAll(out: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += writeSync(out, bytes, done);
}
