/**
 * What graphs are computed by, such as the CPU (cpu.ts): where weights lie, how it is told to compute, and the small
 * things that everybody who builds for one needs. Knows no model.
 */
import type { LargePages } from './large-pages.ts';
import { types, type BufferType, type Graph, type Library, type TypeName } from './library.ts';

export interface Processor {
  readonly library: Library;
  readonly plain: BufferType;
  /** Where its buffers are memory that the system can lay out in large pages. */
  readonly largePages: LargePages | null;
  /**
   * Where a weight `[rows, columns]` of a type is fastest; and whether a product with a single token must be made of two. Of
   * several `experts` each token is multiplied by those that are chosen for it, one by one, and none needs two.
   */
  place(type: TypeName, columns: number, rows: number, experts?: number): Placement;
  /** @throws Error where ggml fails. */
  compute(graph: Graph): void;
  /** Whether attention may sum in tiles and in parts of the keys, which are faster and depend on the pass. */
  setTiled(tiled: boolean): void;
  dispose(): void;
}

export interface Placement {
  readonly bufferType: BufferType;
  readonly pairs: boolean;
  /** Whether a token then has the same bits in every pass. */
  readonly isEven: boolean;
}

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

/** A context that describes so many tensors and holds none of their data. */
export const newContext = (library: Library, tensors: number, graphNodes = 0): ReturnType<Library['init']> =>
  library.init({
    mem_size:
      library.tensorOverhead() * tensors + (graphNodes > 0 ? library.graphOverhead(graphNodes, false) : 0) + 1024,
    mem_buffer: null,
    no_alloc: true,
  });
