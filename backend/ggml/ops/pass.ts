/** What the operators of one graph share: its columns, the targets of their output, and the weights. */
import type { GraphSketch, Value } from '../graph.ts';
import type { Tensor } from '../library.ts';
import type { Processor } from '../processor.ts';
import type { Weights } from '../weights.ts';

/** Keys and values of one attention: `[kvHeads · headDimensions, rows · capacity]`, a row a position. */
export interface Past {
  readonly key: Tensor;
  readonly value: Tensor;
  readonly type: 'F16' | 'F32';
  readonly capacity: number;
  /** The rows that take part in the pass, in its order; `batch` of them. */
  readonly rows: readonly number[];
  /** Number of positions in attention; hidden ones are masked. */
  readonly keys: number;
}

export interface OpsOptions {
  /** Tokens of a row, and rows: column `row · tokens + token`. */
  readonly tokens: number;
  readonly batch: number;
  /** Activations stay in 32 bits wherever ggml can. */
  readonly exact: boolean;
  /** Whether products go by fours, so that tokens have the bits of a large pass: see runtime/ggml/tiles.ts. */
  readonly isTiled: boolean;
  /** The cache of an attention's past; null: it attends only to the columns of this graph. */
  past(slot: string): Past | null;
}

export interface Pass extends OpsOptions {
  readonly processor: Processor;
  readonly sketch: GraphSketch;
  readonly weights: Weights;
  /** `tokens · batch`. */
  readonly columns: number;
}

export const value = (tensor: Tensor, width: number): Value => ({ tensor, width });

/** The heads of every column `[headDimensions, heads, …shape]`. */
export function byHead({ processor, sketch }: Pass, x: Value, heads: number, ...shape: [number, number?]): Tensor {
  const { tensor, width, stride = width * 4 } = x;
  const [n, m = 1] = shape;
  return processor.library.view4(
    sketch.context,
    tensor,
    width / heads,
    heads,
    n,
    m,
    (width / heads) * 4,
    stride,
    n * stride,
    0,
  );
}
