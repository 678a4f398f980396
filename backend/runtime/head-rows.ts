/** Rows of a model's head on a device, each uploaded when it is first wanted. */
import { newContext, noMemory, type Processor } from '../ggml/processor.ts';
import { types, type Tensor } from '../ggml/library.ts';
import type { Parameters } from '../model/parameters.ts';
import { modelHead } from './rough-head.ts';

/** Rows on a device at most. */
export const headRowLimit = 4096;

export interface HeadRows {
  /** `[width, headRowLimit]` of float32. */
  readonly tensor: Tensor;
  /** The biases of some rows; null if the head has none. */
  biases(ids: readonly number[]): number[] | null;
  /** Where in the tensor the rows of these tokens lie, until the next call; at most `headRowLimit` different ones. */
  places(ids: readonly number[]): Int32Array;
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
  const all = parameters.has(bias) ? parameters.values(bias) : null;
  const known = new Map<number, number>();
  return {
    tensor,
    biases: (ids) => all && ids.map((id) => all[id]!),
    places(ids) {
      const wanted = new Set(ids);
      let missing = [...wanted].filter((id) => !known.has(id));
      if (known.size + missing.length > headRowLimit) {
        known.clear();
        missing = [...wanted];
      }
      if (missing.length > 0) {
        const rows = parameters.rows(weight, missing);
        library.set(tensor, rows, known.size * width * 4, rows.byteLength);
        for (const id of missing) known.set(id, known.size);
      }
      return Int32Array.from(ids, (id) => known.get(id)!);
    },
    dispose() {
      library.freeBuffer(buffer);
      library.free(context);
    },
  };
}
