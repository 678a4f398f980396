/**
 * Thousands of damaged files: each is either read within its own bounds or refused with the user's error. Never another
 * error, never more memory than the file is large.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openGguf } from '../../../backend/formats/gguf.ts';
import { openSafetensors } from '../../../backend/formats/safetensors.ts';
import type { TensorSource } from '../../../backend/formats/tensor-source.ts';
import { UserError } from '../../../protocol/errors.ts';
import { random } from '../../support/random.ts';
import { writeAnew } from '../../support/write-anew.ts';
import { gguf, safetensors, temporaryFolder, text, u32, u64 } from './fixtures.ts';

type Mutation = (bytes: Buffer, next: () => number, headerLength: number) => Buffer;

const at = (next: () => number, length: number): number => Math.floor(next() * length);
const extremes = [0n, 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

const mutations: Mutation[] = [
  // One to eight bytes of the header changed.
  (bytes, next, header) => {
    const copy = Buffer.from(bytes);
    for (let n = 1 + at(next, 8); n > 0; n--) copy[at(next, header)] = at(next, 256);
    return copy;
  },
  // Cut short, in the header more often than in the data.
  (bytes, next, header) => bytes.subarray(0, at(next, next() < 0.7 ? header : bytes.length)),
  // An extreme 64-bit number somewhere.
  (bytes, next, header) => {
    const copy = Buffer.from(bytes);
    copy.writeBigUInt64LE(extremes[at(next, extremes.length)]!, at(next, Math.min(header, copy.length - 8)));
    return copy;
  },
  // A piece of the header repeated or left out.
  (bytes, next, header) => {
    const [a, b] = [at(next, header), at(next, header)];
    return Buffer.concat([bytes.subarray(0, a), bytes.subarray(b)]);
  },
  // A digit of a decimal number changed: shapes and offsets of JSON stay numbers.
  (bytes, next, header) => {
    const copy = Buffer.from(bytes);
    for (let tries = 0; tries < 200; tries++) {
      const i = at(next, header);
      if (copy[i]! >= 0x30 && copy[i]! <= 0x39) {
        copy[i] = 0x30 + at(next, 10);
        break;
      }
    }
    return copy;
  },
];

/** Opens and reads everything; counts what was accepted and refused. */
function fuzz(
  original: Buffer,
  headerLength: number,
  open: (path: string) => TensorSource,
  rounds: number,
  seed: number,
) {
  const path = join(temporaryFolder(), 'mutated');
  const next = random(seed);
  const counts = { accepted: 0, refused: 0 };
  for (let round = 0; round < rounds; round++) {
    const bytes = mutations[round % mutations.length]!(original, next, headerLength);
    writeAnew(path, bytes);
    const before = process.memoryUsage().arrayBuffers;
    try {
      const source = open(path);
      try {
        let total = 0;
        for (const tensor of source.tensors.values()) {
          expect(tensor.offset + tensor.bytes).toBeLessThanOrEqual(bytes.length);
          total += source.read(tensor).length;
        }
        // Tensors do not overlap, so together they are no larger than the file.
        expect(total).toBeLessThanOrEqual(bytes.length);
      } finally {
        source.close();
      }
      counts.accepted += 1;
    } catch (error) {
      if (!(error instanceof UserError)) throw new Error(`round ${round}: ${String(error)}`, { cause: error });
      expect(error.message.length).toBeLessThan(600);
      counts.refused += 1;
    }
    // Header windows and copies of tensors; nothing of the size a lying header claims.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * bytes.length + 2 ** 20);
  }
  return counts;
}

/** With every value of the metadata read too. */
function openWhole(path: string): TensorSource {
  const opened = openGguf(path);
  for (const key of opened.metadata.keys()) opened.metadata.get(key);
  return opened;
}

const floats = (count: number): Uint8Array => new Uint8Array(new Float32Array(count).buffer);

describe('damaged files', () => {
  it('safetensors: 4,000 mutations of two files', () => {
    const small = safetensors(
      {
        __metadata__: { format: 'pt' },
        'a.weight': { dtype: 'F32', shape: [4, 8], data_offsets: [0, 128] },
        'b.weight': { dtype: 'F16', shape: [16], data_offsets: [128, 160] },
        c: { dtype: 'I64', shape: [], data_offsets: [160, 168] },
      },
      floats(42),
    );
    const real = readFileSync('test/fixtures/golden/tiny/qwen3/model.safetensors');
    const header = (bytes: Buffer): number => 8 + Number(bytes.readBigUInt64LE(0));
    for (const [bytes, rounds, seed] of [
      [small, 3500, 1],
      [real, 500, 2],
    ] as const) {
      const { accepted, refused } = fuzz(bytes, header(bytes), openSafetensors, rounds, seed);
      expect(refused).toBeGreaterThan(rounds / 2);
      expect(accepted).toBeGreaterThan(0);
    }
  });

  it('GGUF: 4,000 mutations of two files', () => {
    const small = gguf({
      entries: [
        ['general.architecture', 8, text('llama')],
        ['llama.block_count', 4, u32(2)],
        ['tokenizer.ggml.tokens', 9, Buffer.concat([u32(8), u64(3), text('a'), text('b'), text('ab')])],
        ['tokenizer.ggml.scores', 9, Buffer.concat([u32(6), u64(3), Buffer.alloc(12)])],
        ['general.alignment', 4, u32(32)],
      ],
      tensors: [
        { name: 'a.weight', dimensions: [8, 4], type: 0, offset: 0 },
        { name: 'b.weight', dimensions: [32, 2], type: 2, offset: 128 },
      ],
      data: new Uint8Array(164),
    });
    const real = readFileSync('test/fixtures/golden/gguf/llama-q4_0.gguf');
    for (const [bytes, header, seed] of [
      [small, small.length - 164, 3],
      [real, 2000, 4],
    ] as const) {
      const { accepted, refused } = fuzz(bytes, header, openWhole, 2000, seed);
      expect(refused).toBeGreaterThan(500);
      expect(accepted).toBeGreaterThan(0);
    }
  });
});
