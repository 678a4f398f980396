/** Rows of a model's head on a device, each uploaded when it is first wanted. */
import { newContext, noMemory, type Processor } from '../../ggml/processor.ts';
import { types, type Tensor } from '../../ggml/library.ts';
import type { Parameters } from '../../model/parameters.ts';
import { modelHead } from './rough-head.ts';

/** Rows on a device at most. */
export const headRowLimit = 4096;

export interface HeadRows {
  /** `[width, headRowLimit]` of float32. */
  readonly tensor: Tensor;
  /** The bias of each token; null if the head has none. */
  readonly biases: Float32Array | null;
  /** Where in the tensor the rows of these tokens lie, until the next call; at most `headRowLimit` different ones. */
  places(ids: Int32Array): Int32Array;
  dispose(): void;
}

/** @throws UserError `out-of-memory`. */
export function openHeadRows(processor: Processor, parameters: Parameters): HeadRows {
  const { library } = processor;
  const weight = `${modelHead}.weight`;
  const bias = `${modelHead}.bias`;
  const width = parameters.shape(weight)[1]!;
  const context = newContext(library, 1);
  const tensor = library.newTensor2(context, types.F32, width, headRowLimit);
  const buffer = library.allocate(context, processor.plain);
  if (buffer === null) {
    library.free(context);
    throw noMemory(processor, 'rows of the head', 'Close other programs.');
  }
  const known = new Map<number, number>();
  const upload = (ids: ReadonlySet<number>): void => {
    let missing = [...ids].filter((id) => !known.has(id));
    if (known.size + missing.length > headRowLimit) {
      known.clear();
      missing = [...ids];
    }
    const rows = parameters.rows(weight, missing);
    library.set(tensor, rows, known.size * width * 4, rows.byteLength);
    for (const id of missing) known.set(id, known.size);
  };
  return {
    tensor,
    biases: parameters.has(bias) ? parameters.values(bias) : null,
    places(ids) {
      if (!ids.every((id) => known.has(id))) upload(new Set(ids));
      return ids.map((id) => known.get(id)!);
    },
    dispose() {
      library.freeBuffer(buffer);
      library.free(context);
    },
  };
}
