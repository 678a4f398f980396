/**
 * Query heads in the order in which those that share a key head lie apart: `[group][key head][dimension]`. Then a reshape
 * turns the heads of a group into further tokens, and attention reads every key and value once instead of once a head.
 * (It also makes a row's numbers the same in a pass of one token and of several: the runtime's products of a single row
 * sum in another order.) The rows of q and the columns of o are reordered when a graph is built; files stay as they are.
 */
import type { WeightBlocks } from '../formats/quantisation.ts';
import type { Parameters } from '../model/parameters.ts';
import type { ModelSpec } from '../model/spec.ts';

export interface GroupedQueries {
  readonly parameters: Parameters;
  /** Query heads to a key head; 1 where nothing is reordered. */
  readonly group: number;
}

/** Reorders every attention among `parameters`, exits' included, where heads share keys and whole blocks can move. */
export function groupQueries(spec: ModelSpec, parameters: Parameters): GroupedQueries {
  const { heads, kvHeads, headDimensions: d } = spec;
  const group = heads / kvHeads;
  const output = parameters.blockForm('layers.0.self_attn.o_proj.weight');
  if (group === 1 || (output && d % output.blockSize !== 0)) return { parameters, group: 1 };
  /** Head at each new place. */
  const order = Array.from({ length: heads }, (_, i) => (i % kvHeads) * group + Math.trunc(i / kvHeads));
  const isQuery = (name: string): boolean =>
    /\.self_attn\.q_proj\.(weight|bias)$/.test(name) ||
    ((spec.qkNorm === 'all' || spec.qkNorm === 'heads') && name.endsWith('.self_attn.q_norm.weight'));
  const isOutput = (name: string): boolean => name.endsWith('.self_attn.o_proj.weight');
  /** Moves equal chunks of each row of `columns`, one chunk a head. */
  const moveColumns = <T extends Float32Array | Uint8Array>(matrix: T, columns: number): T => {
    const moved = matrix.slice() as T;
    const chunk = columns / heads;
    for (let row = 0; row < matrix.length; row += columns) {
      for (const [to, from] of order.entries()) {
        moved.set(matrix.subarray(row + from * chunk, row + (from + 1) * chunk), row + to * chunk);
      }
    }
    return moved;
  };
  /** Rows of q are heads one after another: the whole matrix is one row of such chunks. */
  const moveRows = <T extends Float32Array | Uint8Array>(matrix: T): T => moveColumns(matrix, matrix.length);
  const moveBlocks = (name: string, blocks: WeightBlocks): WeightBlocks => {
    const rows = parameters.shape(name)[0]!;
    const move = <T extends Float32Array | Uint8Array>(all: T): T =>
      isQuery(name) ? moveRows(all) : moveColumns(all, all.length / rows);
    const { quants, scales, minima } = blocks;
    return { ...blocks, quants: move(quants), scales: move(scales), minima: minima && move(minima) };
  };
  return {
    group,
    parameters: {
      ...parameters,
      values(name) {
        const all = parameters.values(name);
        if (isQuery(name)) return moveRows(all);
        return isOutput(name) ? moveColumns(all, parameters.shape(name)[1]!) : all;
      },
      blocks(name) {
        const all = parameters.blocks(name);
        return isQuery(name) || isOutput(name) ? moveBlocks(name, all) : all;
      },
    },
  };
}
