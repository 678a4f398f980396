/** Copies of matrices in fewer bits, rounded by a processor. */
import { buildGraph } from './graph.ts';
import { types, type TypeName } from './library.ts';
import type { Processor } from './processor.ts';

/** What they are made of: blocks of 4 bits, which a kernel repacks on most processors. */
export const roughType = 'Q4_0';

/** Rows that are rounded at once. */
const roundedTogether = 256;

export const roughBytes = ({ library }: Processor, [rows, columns]: readonly [rows: number, columns: number]): number =>
  rows * library.rowSize(types[roughType], columns);

/** The bytes of a copy. `stored`: those of the weight. */
export function roughCopy(
  processor: Processor,
  type: TypeName,
  stored: Uint8Array,
  [rows, columns]: readonly [rows: number, columns: number],
): Uint8Array {
  const { library: g } = processor;
  const [from, to] = [g.rowSize(types[type], columns), g.rowSize(types[roughType], columns)];
  const copy = new Uint8Array(roughBytes(processor, [rows, columns]));
  for (let first = 0; first < rows;) {
    const count = Math.min(roundedTogether, rows - first);
    const graph = buildGraph(processor, 8, (sketch) => {
      const x = sketch.input('stored', type, columns, count);
      const values = type === 'F32' ? x : g.cast(sketch.context, x, types.F32);
      sketch.output('rough', g.cast(sketch.context, values, types[roughType]));
    });
    for (; first + count <= rows; first += count) {
      graph.set('stored', stored.subarray(first * from, (first + count) * from));
      graph.compute();
      graph.get('rough', copy.subarray(first * to, (first + count) * to));
    }
    graph.dispose();
  }
  return copy;
}
