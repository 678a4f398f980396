/** A token's products have the same bits whatever stands beside it: among tokens of large passes, and among all others. */
import { describe, expect, it } from 'vitest';
import { openCpu } from '../../../backend/ggml/cpu.ts';
import { buildGraph } from '../../../backend/ggml/graph.ts';
import { openLibrary, types, type TypeName } from '../../../backend/ggml/library.ts';
import { ggmlOps } from '../../../backend/ggml/ops.ts';
import { libraryFolder } from '../../../backend/ggml/packages.ts';
import { openWeights } from '../../../backend/ggml/weights.ts';
import type { Parameters } from '../../../backend/model/parameters.ts';
import { randomBlocks, type BlockType } from '../../support/blocks.ts';

const names = (Object.keys(types) as TypeName[]).filter((type): type is BlockType => /^(I?Q\d|TQ|MXFP4)/.test(type));
const [columns, rows] = [1024, 96];
const fewTokens = Array.from({ length: 17 }, (_, i) => i + 1);
const tiles = [1, 2, 3, 5, 16, 64, 70, 101];

describe.skipIf(libraryFolder() === null)('products in ggml', () => {
  const cpu = openCpu(openLibrary(libraryFolder()!), { threads: 2 });
  const x = Float32Array.from({ length: Math.max(...tiles) * columns }, (_, i) => Math.sin(i * i) * (1 + (i % 7)));

  it.each(names)('%s', (type) => {
    const stored = randomBlocks(type, columns * rows);
    const parameters: Parameters = {
      has: (name) => name === 'a.weight',
      shape: () => [rows, columns],
      storedType: () => type,
      stored: () => stored,
      values: () => new Float32Array(0),
      rows: () => new Float32Array(0),
      blockForm: () => null,
      blocks: () => {
        throw new Error('no blocks are asked for');
      },
    };
    const weights = openWeights(cpu, parameters, 'stored');
    const products = (tokens: number, isTiled: boolean): Float32Array => {
      const graph = buildGraph(cpu, 32, (sketch) => {
        const shape = { tokens, batch: 1, exact: false, isTiled, past: () => null };
        const tensor = sketch.input('x', 'F32', columns, tokens);
        sketch.output('y', ggmlOps(cpu, sketch, weights, shape).linear({ tensor, width: columns }, 'a').tensor);
      });
      graph.set('x', x.subarray(0, tokens * columns));
      graph.compute();
      const y = new Float32Array(tokens * rows);
      graph.get('y', y);
      graph.dispose();
      return y;
    };
    for (const [counts, isTiled] of [
      [fewTokens, false],
      [tiles, true],
    ] as const) {
      const all = products(Math.max(...counts), isTiled);
      for (const count of counts) {
        const some = products(count, isTiled);
        expect([count, some.findIndex((value, i) => !Object.is(value, all[i]))]).toEqual([count, -1]);
      }
    }
    weights.dispose();
  });
});
