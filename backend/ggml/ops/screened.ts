/**
 * A linear layer of which only the largest outputs matter: all outputs are computed roughly, from a copy of its weight in fewer bits, and
 * the best ones again from the weight itself. Decoding is bound by memory, and the copy is a fraction of the weight.
 */
import { blockInfo } from '../../formats/dequantise.ts';
import type { Parameters } from '../../model/parameters.ts';
import { buildGraph, type GraphSketch, type Value } from '../graph.ts';
import { types, type TypeName } from '../library.ts';
import type { Processor } from '../processor.ts';
import { fewBits, storedForm } from '../weight-form.ts';
import type { Weights } from '../weights.ts';

/** Outputs that are computed again together: the kernels of repacked blocks take eight at a time. */
const blockRows = 32;
/**
 * Number of blocks of outputs that are computed again, those with the largest rough ones; they always include the 64 best outputs. For
 * Qwen2.5-Coder-0.5B the right token was the 8th at worst.
 */
const chosenBlocks = 64;
/** Numbers of a weight below which choosing costs more than it saves. */
const smallestScreened = 2 ** 23;
/** Largest size of the copy, as a share of the weight's bytes; a larger one would save too little. */
const largestShare = 0.75;
/** `GGML_OP_POOL_MAX`. */
const poolMaximum = 0;

/** Paths of what screens a linear. */
export interface Screen {
  /** The linear itself. */
  readonly whole: string;
  /** By the rough copy. */
  readonly rough: string;
  /** By which blocks are computed again: the linear itself, or a copy of its weight, since AMX multiplies no blocks of what lies in its form. */
  readonly blocks: string;
}

/**
 * What screens the head `path` on a processor; null if screening does not pay. It does if the weight is large, in more bits than the copy,
 * and without a bias; a kernel repacks the copy; and blocks of the weight's rows have the same bits in every pass.
 */
export function screenOf(
  processor: Processor,
  parameters: Parameters,
  path: string,
  smallest = smallestScreened,
): Screen | null {
  const name = `${path}.weight`;
  const type = storedForm(parameters, name);
  const [rows, columns] = parameters.shape(name) as [number, number];
  if (processor.isGpu || type === null || parameters.has(`${path}.bias`)) return null;
  if (rows % blockRows !== 0 || columns % blockInfo(fewBits).elements !== 0 || rows * columns < smallest) return null;
  if (bits(fewBits) > largestShare * bits(type)) return null;
  const whole = processor.place(type, columns, rows);
  const inBlocks = processor.place(type, columns, blockRows, rows / blockRows);
  const rough = processor.place(fewBits, columns, rows);
  const areEven = [whole, inBlocks, rough].every(({ isEven }) => isEven);
  if (rough.bufferType === processor.plain || !areEven || inBlocks.type !== whole.type) return null;
  const isInPlace = inBlocks.bufferType === whole.bufferType;
  // A copy is in the file's type. Sums of bytes differ only in their last bits from place to place, those of floats by more.
  if (!isInPlace && (inBlocks.type !== type || blockInfo(type).elements === 1)) return null;
  return { whole: path, rough: `${path}.rough`, blocks: isInPlace ? path : `${path}.blocks` };
}

/** Of a number. */
function bits(type: TypeName): number {
  const { elements, bytes } = blockInfo(type);
  return (8 * bytes) / elements;
}

/** Loads the copies that a screen needs. `rough`: gives the bytes of the rough one. */
export async function loadScreen(
  weights: Weights,
  parameters: Parameters,
  { whole, rough, blocks }: Screen,
  roughBytes: (type: TypeName, shape: readonly [rows: number, columns: number]) => Uint8Array,
): Promise<void> {
  const name = `${whole}.weight`;
  const shape = parameters.shape(name) as [number, number];
  const type = storedForm(parameters, name)!;
  await weights.keep(`${rough}.weight`, fewBits, shape, () => roughBytes(type, shape));
  if (blocks === whole) return;
  await weights.keep(`${blocks}.weight`, type, shape, () => parameters.stored(name), blockRows);
}

/**
 * x `[in, positions]` → `[out, positions]`: exact sums in the blocks of each position's best rough ones, to the bit those of the whole
 * linear if they are of its own weight; rough ones elsewhere. `rough`: x by the copy, which is overwritten.
 */
export function screenedLinear(
  { library: g }: Processor,
  { context: c }: GraphSketch,
  weights: Weights,
  { x, rough, screen, positions }: { x: Value; rough: Value; screen: Screen; positions: number },
): Value {
  const count = rough.width / blockRows;
  const maxima = g.pool(c, rough.tensor, poolMaximum, blockRows, blockRows, 0);
  const best = g.topK(c, maxima, Math.min(chosenBlocks, count));
  const weight = g.reshape3(c, weights.matrix(`${screen.blocks}.weight`).tensor, x.width, blockRows, count);
  const exact = g.mulMatId(c, weight, g.reshape3(c, x.tensor, x.width, 1, positions), best);
  const all = g.setRows(c, g.reshape3(c, rough.tensor, blockRows, count, positions), exact, best);
  return { tensor: g.reshape2(c, all, rough.width, positions), width: rough.width };
}

/** Rows that are rounded at once. */
const roundedTogether = 256;

export const roughBytes = ({ library }: Processor, [rows, columns]: readonly [rows: number, columns: number]): number =>
  rows * library.rowSize(types[fewBits], columns);

/** The bytes of a copy. `stored`: those of the weight. */
export function roughCopy(
  processor: Processor,
  type: TypeName,
  stored: Uint8Array,
  [rows, columns]: readonly [rows: number, columns: number],
): Uint8Array {
  const { library: g } = processor;
  const [from, to] = [g.rowSize(types[type], columns), g.rowSize(types[fewBits], columns)];
  const copy = new Uint8Array(roughBytes(processor, [rows, columns]));
  for (let first = 0; first < rows;) {
    const count = Math.min(roundedTogether, rows - first);
    const graph = buildGraph(processor, 8, (sketch) => {
      const x = sketch.input('stored', type, columns, count);
      const values = type === 'F32' ? x : g.cast(sketch.context, x, types.F32);
      sketch.output('rough', g.cast(sketch.context, values, types[fewBits]));
    });
    try {
      for (; first + count <= rows; first += count) {
        graph.set('stored', stored.subarray(first * from, (first + count) * from));
        graph.compute();
        graph.get('rough', copy.subarray(first * to, (first + count) * to));
      }
    } finally {
      graph.dispose();
    }
  }
  return copy;
}
