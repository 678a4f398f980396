/** What form weights take in memory, where they lie together, and what loads them beforehand. */
import { describe, expect, it } from 'vitest';
import { openCpu } from '../../../backend/ggml/cpu.ts';
import { openLibrary } from '../../../backend/ggml/library.ts';
import { libraryFolder } from '../../../backend/ggml/packages.ts';
import { openWeights } from '../../../backend/ggml/weights.ts';
import type { Parameters } from '../../../backend/model/parameters.ts';

/** Experts of zeros in blocks of Q8_0. */
const zeros = (rows: number, columns: number): Parameters => ({
  has: () => true,
  shape: () => [rows, columns],
  values: () => new Float32Array(rows * columns),
  rows: () => new Float32Array(0),
  isInMemory: () => false,
  storedType: () => 'Q8_0',
  stored: () => new Uint8Array((rows * columns * 34) / 32),
});

describe('experts', () => {
  const cpu = openCpu(openLibrary(libraryFolder()!), { threads: 1 });
  it.each([
    ['small', 2048, true, 4],
    ['small', 2048, false, 34 / 32],
    ['large', 2052, true, 34 / 32],
  ])('%s ones, %s rows, exact: %s', (_, rows, exact, bytes) => {
    const weights = openWeights(cpu, zeros(rows, 2048), exact ? 'exact' : 'stored');
    expect(cpu.library.tensorBytes(weights.experts('experts.weight', 4))).toBe(rows * 2048 * bytes);
    weights.dispose();
  });
});

describe('matrices that are loaded beforehand', () => {
  const cpu = openCpu(openLibrary(libraryFolder()!), { threads: 1 });
  const ones: Parameters = {
    ...zeros(64, 256),
    storedType: () => 'F32',
    values: () => new Float32Array(64 * 256).fill(1),
  };

  it('are those that are requested later, even if others load them', async () => {
    const weights = openWeights(cpu, ones, 'exact');
    const names = [['a.weight'], ['b.weight'], ['c.weight'], ['d.weight']];
    await Promise.all([weights.load(names), weights.load(names)]);
    const { tensor } = weights.matrix('c.weight');
    const weight = new Float32Array(64 * 256);
    cpu.library.get(tensor, weight, 0, weight.byteLength);
    expect(weight.every((value) => value === 1)).toBe(true);
    expect(weights.matrix('c.weight').tensor).toBe(tensor);
    weights.dispose();
  });

  it('wait for those under way where one cannot be read', async () => {
    const damaged: Parameters = {
      ...ones,
      values(name) {
        if (name === 'c.weight') throw new Error('damaged');
        return ones.values(name);
      },
    };
    const weights = openWeights(cpu, damaged, 'exact');
    await expect(weights.load([['a.weight'], ['b.weight'], ['c.weight']])).rejects.toThrow('damaged');
    expect(weights.matrix('b.weight').rows).toBe(64);
    weights.dispose();
  });
});

describe('matrices that lie as one', () => {
  const cpu = openCpu(openLibrary(libraryFolder()!), { threads: 1 });
  const rowsOf: Record<string, number> = { 'a.weight': 64, 'b.weight': 32, 'large.weight': 1 << 16 };
  const several: Parameters = {
    ...zeros(0, 256),
    shape: (name) => [rowsOf[name]!, 256],
    storedType: () => 'F32',
    values: (name) => new Float32Array(rowsOf[name]! * 256).fill(rowsOf[name]!),
  };

  it('are loaded together, below each other', async () => {
    const weights = openWeights(cpu, several, 'exact');
    const group = ['a.weight', 'b.weight'];
    await weights.load([group]);
    const { tensor, rows, parts } = weights.joined(group)!;
    expect([rows, parts]).toEqual([96, [64, 32]]);
    const weight = new Float32Array(96 * 256);
    cpu.library.get(tensor, weight, 0, weight.byteLength);
    expect(weight.subarray(0, 64 * 256).every((value) => value === 64)).toBe(true);
    expect(weight.subarray(64 * 256).every((value) => value === 32)).toBe(true);
    weights.dispose();
  });

  it.each([
    ['where they are large', several, 'exact', ['a.weight', 'large.weight']],
    [
      'where their types differ',
      { ...several, storedType: (name: string) => (name === 'a.weight' ? 'F32' : 'F16') },
      'stored',
      ['a.weight', 'b.weight'],
    ],
    ['where many tokens are read at once', several, 'many', ['a.weight', 'b.weight']],
  ] as const)('not %s', async (_, parameters, form, group) => {
    const weights = openWeights(cpu, parameters, form);
    await weights.load([group.slice(0, 1)]);
    expect(weights.joined(group)).toBeNull();
    weights.dispose();
  });
});

describe('the wide form', () => {
  const cpu = openCpu(openLibrary(libraryFolder()!), { threads: 1 });

  it.each([
    ['floats of the file in 32 bits', 'BF16', false, 4],
    ['trained matrices in bytes', null, true, 34 / 32],
  ] as const)('keeps %s', (_, stored, rounds, bytes) => {
    const parameters = {
      ...zeros(64, 256),
      storedType: () => stored,
      isInMemory: () => rounds,
      values: () => new Float32Array(64 * 256),
    } as unknown as Parameters;
    const weights = openWeights(cpu, parameters, 'wide');
    expect(cpu.library.tensorBytes(weights.matrix('a.weight').tensor)).toBe(64 * 256 * bytes);
    weights.dispose();
  });
});
