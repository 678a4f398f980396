/**
 * A device that computes graphs, a CPU (cpu.ts) or a GPU (gpu.ts): its buffers for weights, how a graph is computed, and small functions
 * for everything that builds graphs. Knows no model.
 */
import { userError } from '../../protocol/errors.ts';
import type { LargePages } from './large-pages.ts';
import { types, type BufferType, type Graph, type Library, type Tensor, type TypeName } from './library.ts';

export interface Processor {
  readonly library: Library;
  /** ggml's, such as `CPU` or `Vulkan0`. */
  readonly name: string;
  /** Has memory of its own, to which everything has to be sent. */
  readonly isGpu: boolean;
  readonly plain: BufferType;
  /** Present if its buffers are memory that the system can put into large pages. */
  readonly largePages: LargePages | null;
  /**
   * The type and the place in which a weight `[rows, columns]` of a type is fastest, its numbers unchanged, and how it is multiplied so
   * that a token has the same bits in every pass. Of several `experts` each token is multiplied by those that are chosen for it, one by one.
   */
  place(type: TypeName, columns: number, rows: number, experts?: number): Placement;
  /** The type and the buffer in which such a weight is fastest for many tokens at once, without the rule of equal bits. */
  placeForMany(type: TypeName, columns: number, rows: number): ManyPlacement;
  /** Whether it has an operator for what a tensor is computed by. */
  supports(tensor: Tensor): boolean;
  /** @throws ProcessorFailure if it fails. */
  compute(graph: Graph): void;
  /** Whether attention may sum in tiles and in parts of the keys, which are faster and depend on the pass. */
  setTiled(tiled: boolean): void;
}

/** A failure of the device, not a mistake of the caller; a sentence without its full stop. */
export class ProcessorFailure extends Error {
  override readonly name = 'ProcessorFailure';
}

export interface ManyPlacement {
  readonly type: TypeName;
  readonly bufferType: BufferType;
}

export interface Placement extends ManyPlacement {
  /**
   * Most tokens that are summed as a single one is; null: any number. If it is a number, tokens of tiles go through a product in multiples
   * of `tileStep`, which are summed alike, and all others by at most this number.
   */
  readonly few: number | null;
  /** Whether a token then has the same bits in every pass. */
  readonly isEven: boolean;
  /** Most tokens that are multiplied faster one by one than at once, with the same bits. */
  readonly alone: number;
}

/** How many tokens, summed alike, go into a product together; the best number first. */
export const fewTogether: Readonly<Record<number, readonly number[]>> = { 1: [1], 3: [3, 2] };

/** What kernels of repacked blocks take at once. */
export const tileStep = 4;

/** Thrown if there is no memory: what a GPU lacks, the CPU may have. */
export const noMemory = ({ isGpu }: Pick<Processor, 'isGpu'>, what: string, wayOut: string): Error =>
  isGpu
    ? new ProcessorFailure(`it has no memory for ${what}`)
    : userError('out-of-memory', `There is no memory for ${what}.`, wayOut);

/** Float values as a type stores them. */
export function encode(
  library: Library,
  type: TypeName,
  values: Float32Array,
  rows: number,
  columns: number,
): Uint8Array {
  const bytes = new Uint8Array(rows * library.rowSize(types[type], columns));
  if (type === 'F32') bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  else library.quantise(types[type], values, bytes, 0, rows, columns, null);
  return bytes;
}

/** A context that describes up to `tensors` tensors and has none of their data. */
export const newContext = (library: Library, tensors: number, graphNodes = 0): ReturnType<Library['init']> =>
  library.init({ mem_size: contextBytes(library, tensors, graphNodes), mem_buffer: null, no_alloc: true });

/** The memory of such a context. */
export const contextBytes = (library: Library, tensors: number, graphNodes: number): number =>
  library.tensorOverhead() * tensors + (graphNodes > 0 ? library.graphOverhead(graphNodes, false) : 0) + 1024;
