/** A GGUF file runs in its own blocks, of whatever type, and says what its values say in 32 bits. */
import { expect, test } from 'vitest';
import { types } from '../../../backend/ggml/library.ts';
import { openModel } from '../../../backend/model/open.ts';
import { noExits, openStagedModel } from '../../../backend/runtime/open.ts';
import { randomBlocks, type BlockType } from '../../support/blocks.ts';
import { finalLogits } from '../../support/decoding.ts';
import { random } from '../../support/random.ts';
import { file, gguf, temporaryFolder, text, u32 } from '../formats/fixtures.ts';

const [hidden, vocabulary] = [256, 64];

/** A Llama of one layer whose matrices are random blocks. */
function write(type: BlockType): string {
  const next = random(5);
  const plain = (count: number, value: () => number): Uint8Array =>
    new Uint8Array(Float32Array.from({ length: count }, value).buffer);
  const tensors: { name: string; shape: number[]; type: number; bytes: Uint8Array }[] = [];
  const add = (name: string, shape: number[], code: number, bytes: Uint8Array): void =>
    void tensors.push({ name: `${name}.weight`, shape, type: code, bytes });
  add(
    'token_embd',
    [hidden, vocabulary],
    types.F32,
    plain(hidden * vocabulary, () => next() - 0.5),
  );
  for (const norm of ['output_norm', 'blk.0.attn_norm', 'blk.0.ffn_norm'])
    add(
      norm,
      [hidden],
      types.F32,
      plain(hidden, () => 1),
    );
  for (const name of ['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down'])
    add(`blk.0.${name}`, [hidden, hidden], types[type], randomBlocks(type, hidden * hidden));
  add('output', [hidden, vocabulary], types[type], randomBlocks(type, hidden * vocabulary));
  let offset = 0;
  const placed = tensors.map(({ name, shape, type: code, bytes }) => {
    const at = { name, dimensions: shape, type: code, offset };
    offset += Math.ceil(bytes.length / 32) * 32;
    return { at, bytes };
  });
  const data = new Uint8Array(offset);
  for (const { at, bytes } of placed) data.set(bytes, at.offset);
  const counts = { block_count: 1, embedding_length: hidden, feed_forward_length: hidden, 'attention.head_count': 4 };
  return file(
    temporaryFolder(),
    `${type}.gguf`,
    gguf({
      entries: [
        ['general.architecture', 8, text('llama')],
        ...Object.entries(counts).map(([key, value]): [string, number, Buffer] => [`llama.${key}`, 4, u32(value)]),
      ],
      tensors: placed.map(({ at }) => at),
      data,
    }),
  );
}

const newer = Object.keys(types).filter((type): type is BlockType => /^(IQ|TQ|MXFP4)/.test(type));

test.each(newer)('%s', async (type) => {
  const model = openModel(write(type));
  expect(model.parameters.storedType('layers.0.mlp.down_proj.weight')).toBe(type);
  const ids = [3, 1, 4, 15, 9, 26];
  const logitsWith = async (options: Parameters<typeof openStagedModel>[2]): Promise<Float32Array> => {
    const staged = await openStagedModel(model, noExits, options);
    const logits = await finalLogits(staged, ids);
    await staged.dispose();
    return logits;
  };
  const stored = await logitsWith({ arithmetic: 'int8' });
  const norm = (values: Float32Array): number => Math.hypot(...values);
  const exact = await logitsWith({ arithmetic: 'float32' });
  expect(norm(exact)).toBeGreaterThan(0);
  expect(norm(exact.map((value, i) => value - stored[i]!)) / norm(exact)).toBeLessThan(0.05);
  model.close();
});
