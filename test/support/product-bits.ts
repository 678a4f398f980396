/** Whether products with a block type give a token the same bits whatever stands beside it. */
import { buildGraph } from '../../backend/ggml/graph.ts';
import { types, type TypeName } from '../../backend/ggml/library.ts';
import { ggmlOps } from '../../backend/ggml/ops/ops.ts';
import type { Processor } from '../../backend/ggml/processor.ts';
import { openWeights } from '../../backend/ggml/weights.ts';
import type { Parameters } from '../../backend/model/parameters.ts';
import { randomBlocks, type BlockType } from './blocks.ts';

export const blockTypes = (Object.keys(types) as TypeName[]).filter((type): type is BlockType =>
  /^(I?Q\d|TQ|MXFP4)/.test(type),
);

// Several blocks a row: with one, every order of summing is the same.
const [columns, rows] = [1024, 96];
const passes = Array.from({ length: 17 }, (_, i) => i + 1);
const tiles = [1, 2, 3, 5, 16, 64, 70, 101];

function parametersOf(type: BlockType): Parameters {
  const stored = randomBlocks(type, columns * rows);
  return {
    has: (name) => name === 'a.weight',
    shape: () => [rows, columns],
    storedType: () => type,
    stored: () => stored,
    values: () => new Float32Array(0),
    rows: () => new Float32Array(0),
    isInMemory: () => false,
  };
}

const states = (tokens: number): Float32Array =>
  Float32Array.from({ length: tokens * columns }, (_, i) => Math.sin(i * i) * (1 + (i % 7)));
const mostStates = states(Math.max(...tiles));

/** Whether this number of tokens in one product have the bits that each has alone. */
export function areAlike(cpu: Processor, type: BlockType, tokens: number): boolean {
  const weights = openWeights(cpu, parametersOf(type), 'stored');
  const { tensor } = weights.matrix('a.weight');
  const x = states(tokens);
  const products = (from: number, count: number): Float32Array => {
    const graph = buildGraph(cpu, 8, (sketch) => {
      sketch.output('y', cpu.library.mulMat(sketch.context, tensor, sketch.input('x', 'F32', columns, count)));
    });
    graph.set('x', x.subarray(from * columns, (from + count) * columns));
    graph.compute();
    const y = new Float32Array(count * rows);
    graph.get('y', y);
    graph.dispose();
    return y;
  };
  const together = products(0, tokens);
  const alone = Array.from({ length: tokens }, (_, i) => [...products(i, 1)]).flat();
  weights.dispose();
  return together.every((value, i) => Object.is(value, alone[i]));
}

/** How many tokens at once have other bits than in the largest pass of their kind: of passes, and of tiles, as `tiles/<count>`. */
export function differingProducts(cpu: Processor, type: BlockType): string[] {
  const weights = openWeights(cpu, parametersOf(type), 'stored');
  const products = (tokens: number, isTiled: boolean): Float32Array => {
    const graph = buildGraph(cpu, 32, (sketch) => {
      const shape = { tokens, batch: 1, exact: false, isTiled, past: () => null };
      const tensor = sketch.input('x', 'F32', columns, tokens);
      sketch.output('y', ggmlOps(cpu, sketch, weights, shape).linear({ tensor, width: columns }, 'a').tensor);
    });
    graph.set('x', mostStates.subarray(0, tokens * columns));
    graph.compute();
    const y = new Float32Array(tokens * rows);
    graph.get('y', y);
    graph.dispose();
    return y;
  };
  const differing = (counts: readonly number[], isTiled: boolean): string[] => {
    const all = products(Math.max(...counts), isTiled);
    const isOther = (count: number): boolean => products(count, isTiled).some((value, i) => !Object.is(value, all[i]));
    return counts.filter(isOther).map((count) => `${isTiled ? 'tiles' : 'passes'}/${count}`);
  };
  const found = [...differing(passes, false), ...differing(tiles, true)];
  weights.dispose();
  return found;
}
