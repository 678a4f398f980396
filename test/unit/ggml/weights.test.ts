/** What form weights take in memory, where they lie together, and what loads them beforehand. */
import { describe, expect, it } from 'vitest';
import { openCpu } from '../../../backend/ggml/cpu.ts';
import { openLibrary } from '../../../backend/ggml/library.ts';
import { libraryFolder } from '../../../backend/ggml/packages.ts';
import { buildGraph } from '../../../backend/ggml/graph.ts';
import { ggmlOps } from '../../../backend/ggml/ops/ops.ts';
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
    expect(cpu.library.placeBytes(cpu.plain, weights.experts('experts.weight', 4))).toBe(rows * 2048 * bytes);
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
    expect(cpu.library.placeBytes(cpu.plain, weights.matrix('a.weight').tensor)).toBe(64 * 256 * bytes);
    weights.dispose();
  });
});

describe('trained matrices', () => {
  const cpu = openCpu(openLibrary(libraryFolder()!), { threads: 1 });
  const trained = (rows: number, columns: number): Parameters => ({
    ...zeros(rows, columns),
    has: (name) => name === 'a.weight',
    storedType: () => null,
    isInMemory: () => true,
    values: () => Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i)),
  });

  it('have rows of zeros behind their own, so that kernels that repack blocks take them; a product has its own rows', () => {
    const parameters = trained(129, 256);
    const weights = openWeights(cpu, parameters, 'stored');
    const { rows, parts } = weights.matrix('a.weight');
    expect([rows, parts]).toEqual([160, [129]]);
    const graph = buildGraph(cpu, 16, (sketch) => {
      const shape = { tokens: 1, batch: 2, exact: false, isTiled: false, past: () => null };
      const x = { tensor: sketch.input('x', 'F32', 256, 2), width: 256 };
      sketch.output('y', ggmlOps(cpu, sketch, weights, shape).linear(x, 'a').tensor);
    });
    const x = Float32Array.from({ length: 2 * 256 }, (_, i) => Math.cos(i));
    const y = new Float32Array(2 * 129);
    graph.set('x', x);
    graph.compute();
    graph.get('y', y);
    const all = parameters.values('a.weight');
    const exact = Array.from(y, (_, i) => {
      const [column, row] = [Math.floor(i / 129), i % 129];
      return Array.from({ length: 256 }, (_, j) => all[row * 256 + j]! * x[column * 256 + j]!).reduce((a, b) => a + b);
    });
    for (const [i, value] of y.entries()) expect(Math.abs(value - exact[i]!)).toBeLessThan(0.2);
    graph.dispose();
    weights.dispose();
  });

  it.each([
    ['in 4 bits, a large head', 2 ** 13 + 1, true, 'stored', true],
    ['in bytes, a small head', 2 ** 12 + 1, true, 'stored', false],
    ['in bytes, what is no head', 2 ** 13 + 1, false, 'stored', false],
    ['in bytes, a large head where values stay exact', 2 ** 13 + 1, true, 'wide', false],
  ] as const)('lie %s', (_, rows, isHead, form, isRough) => {
    const weights = openWeights(cpu, trained(rows, 256), form, () => isHead);
    const padded = Math.ceil(rows / 32) * 32;
    const repacks = cpu.place('Q4_0', 256, 32).bufferType !== cpu.plain;
    const bytes = cpu.library.placeBytes(cpu.plain, weights.matrix('a.weight').tensor);
    expect(bytes).toBe((padded * 256 * (isRough && repacks ? 18 : 34)) / 32);
    weights.dispose();
  });
});
