/** GGUF files of every supported type against the reference's dequantised tensors, bit for bit. */
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { openGguf } from '../../backend/formats/gguf.ts';
import { dequantise } from '../../backend/formats/dequantise.ts';
import { openSafetensors } from '../../backend/formats/safetensors.ts';
import type { TensorType } from '../../backend/formats/tensor-source.ts';

const folder = 'test/fixtures/golden/gguf';
const names = readdirSync(folder)
  // One file a type; those of other families hold types that these have.
  .filter((name) => name.startsWith('llama') && name.endsWith('.gguf'))
  .map((name) => name.replace('.gguf', ''));

/** Index of the first element whose bits differ; −1 if none does. Zeros of either sign are equal. */
function firstDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Math.min(a.length, b.length);
  return a.findIndex((value, i) => value !== b[i]);
}

const seen = new Set<TensorType>();

describe('golden GGUF files', () => {
  it('are all there', () => {
    expect(names).toHaveLength(13);
  });

  it.each(names)('%s dequantises to the reference', (name) => {
    const gguf = openGguf(`${folder}/${name}.gguf`);
    const reference = openSafetensors(`${folder}/${name}.dequant.safetensors`);
    const golden = JSON.parse(readFileSync(`${folder}/${name}.golden.json`, 'utf8')) as {
      types: Record<string, string>;
    };
    expect(Object.fromEntries([...gguf.tensors.values()].map((t) => [t.name, t.type]))).toEqual(golden.types);
    expect([...gguf.tensors.keys()].sort()).toEqual([...reference.tensors.keys()].sort());
    for (const tensor of gguf.tensors.values()) {
      const expected = reference.tensors.get(tensor.name)!;
      expect(tensor.shape).toEqual(expected.shape);
      const count = tensor.shape.reduce((a, b) => a * b, 1);
      const values = dequantise(tensor.type, gguf.read(tensor), count);
      const wanted = dequantise('F32', reference.read(expected), count);
      expect(wanted.some((value) => value !== 0)).toBe(true);
      expect([tensor.name, firstDifference(values, wanted)]).toEqual([tensor.name, -1]);
      seen.add(tensor.type);
    }
    gguf.close();
    reference.close();
  });

  afterAll(() => {
    expect([...seen].sort()).toEqual(
      ['F32', 'F16', 'BF16', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K'].sort(),
    );
  });
});
