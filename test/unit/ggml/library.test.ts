import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { UserError } from '../../../protocol/errors.ts';
import { openCpu } from '../../../backend/ggml/cpu.ts';
import { buildGraph } from '../../../backend/ggml/graph.ts';
import { openLibrary } from '../../../backend/ggml/library.ts';
import { libraryFolder, packageName } from '../../../backend/ggml/packages.ts';
import { probeGgml } from '../../../backend/ggml/probe.ts';

test('platforms have their packages, and others have none', () => {
  expect(packageName('linux', 'x64')).toBe('@node-llama-cpp/linux-x64');
  expect(packageName('darwin', 'arm64')).toBe('@node-llama-cpp/mac-arm64-metal');
  expect(packageName('freebsd', 'x64')).toBeNull();
});

test('a folder without the libraries is refused by a sentence that names it', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'early-exit-'));
  try {
    const open = (): unknown => openLibrary(folder);
    expect(open).toThrow(UserError);
    expect(open).toThrow(path.join(folder, 'ggml'));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

describe('the libraries of this platform', () => {
  const library = openLibrary(libraryFolder()!);
  const cpu = openCpu(library, { threads: 1 });

  test('answer in a process of their own', () => {
    expect(probeGgml()).toEqual({ folder: libraryFolder() });
  });

  test('hold every function, and multiply', () => {
    const graph = buildGraph(cpu, 8, (sketch) => {
      const w = sketch.input('w', 'F32', 2, 2);
      const x = sketch.input('x', 'F32', 2, 1);
      sketch.output('y', library.mulMat(sketch.context, w, x));
    });
    graph.set('w', Float32Array.of(1, 2, 3, 4));
    graph.set('x', Float32Array.of(5, 6));
    graph.compute();
    const y = new Float32Array(2);
    graph.get('y', y);
    expect([...y]).toEqual([17, 39]);
    graph.dispose();
  });

  test.each([
    'Q4_0',
    'Q4_1',
    'Q5_0',
    'Q5_1',
    'Q8_0',
    'Q2_K',
    'Q3_K',
    'Q4_K',
    'Q5_K',
    'Q6_K',
    'F16',
    'BF16',
    'F32',
  ] as const)('a token’s products with %s are the same bits in every pass', (type) => {
    for (const [columns, rows] of [
      [256, 64],
      [768, 100],
      [1536, 256],
    ] as const)
      expect(cpu.place(type, columns, rows).isEven).toBe(true);
  });
});
