/**
 * A linear of which only the largest outputs matter: all are computed roughly, from a copy of the weight in 4 bits, and the
 * best of them again from the weight itself. It reads half of the memory, and memory is what a token waits for.
 */
import { coarsen, type WeightBlocks } from '../formats/quantisation.ts';
import type { Parameters } from '../model/parameters.ts';
import type { GraphBuilder } from './builder.ts';

/**
 * How many outputs are computed again. Rough ones of Qwen2.5-Coder-0.5B are off by 0.4 (one standard deviation), and the 32nd
 * best is about 4 below the best.
 */
const recomputed = 32;

/** Elements of a weight below which choosing costs more than it saves. */
const smallest = 2 ** 23;

/** Whether `path` is large, stored in 8-bit blocks without minima, and without a bias. */
export function canScreen(parameters: Parameters, path: string): boolean {
  const weight = `${path}.weight`;
  const [rows, columns] = parameters.shape(weight) as [number, number];
  const form = parameters.blockForm(weight);
  return form?.zeroPoint === 128 && columns % 32 === 0 && rows * columns >= smallest && !parameters.has(`${path}.bias`);
}

/** The product of x and a weight in blocks; `key` names the weight in the graph. */
type BlockProduct = (x: string, key: string, blocks: WeightBlocks, rows: number, columns: number) => string;

/** x `[batch, tokens, in]` → `[batch, tokens, out]`: exact sums at the best candidates of each token, rough ones elsewhere. */
export function screenedLinear(
  builder: GraphBuilder,
  parameters: Parameters,
  product: BlockProduct,
  x: string,
  path: string,
): string {
  const weight = `${path}.weight`;
  const [rows, columns] = parameters.shape(weight) as [number, number];
  const blocks = parameters.blocks(weight);
  const rough = product(x, `${weight}.rough`, coarsen(blocks, columns), rows, columns);
  const [, ids] = builder.nodeOf('TopK', [rough, builder.ints([recomputed])], 2, { axis: -1 });

  const { quants, scales, blockSize } = blocks;
  const perRow = columns / blockSize;
  const ofCandidates = (values: string): string => builder.node('Gather', [values, ids!], { axis: 0 });
  const q = ofCandidates(builder.initialiser(`${weight}.quants`, quants, [rows, perRow, blockSize]));
  const d = ofCandidates(builder.initialiser(`${weight}.scales`, scales, [rows, perRow, 1]));
  // ONNX Runtime's GatherBlockQuantized does this in one node, and takes five times as long.
  const middle = builder.initialiser('middle', new Uint8Array([128]), []);
  const centred = builder.node('DequantizeLinear', [q, builder.scalar(1), middle]);
  const matrix = builder.node('Reshape', [builder.node('Mul', [centred, d]), builder.ints([0, 0, 0, -1])]);
  const last = builder.ints([-1]);
  const exact = builder.node('Squeeze', [builder.node('MatMul', [matrix, builder.node('Unsqueeze', [x, last])]), last]);
  return builder.node('ScatterElements', [rough, ids!, exact], { axis: -1 });
}
