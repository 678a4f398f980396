/** One product of matrices, in ggml: a head and a translator are a minute of JavaScript. */
import { buildGraph } from '../ggml/graph.ts';
import { transpose } from '../model/parameters.ts';
import { processorOf } from '../runtime/ggml/runtime.ts';

/** Rows that are multiplied at once, which bounds the memory besides the head itself. */
const most = 8192;

/** a `[rows, inner]` · b `[inner, columns]`. @throws UserError `device` if ggml does not compute here, `out-of-memory`. */
export function product(
  a: Float32Array,
  b: Float32Array,
  [rows, inner, columns]: readonly [number, number, number],
): Float32Array {
  const cpu = processorOf({});
  const transposed = transpose(b, inner, columns);
  const all = new Float32Array(rows * columns);
  for (let from = 0; from < rows; from += most) {
    const count = Math.min(most, rows - from);
    const graph = buildGraph(cpu, 8, (sketch) => {
      const [x, y] = [sketch.input('a', 'F32', inner, count), sketch.input('b', 'F32', inner, columns)];
      sketch.output('product', cpu.library.mulMat(sketch.context, y, x));
    });
    graph.set('a', a.subarray(from * inner, (from + count) * inner));
    graph.set('b', transposed);
    graph.compute();
    graph.get('product', all.subarray(from * columns, (from + count) * columns));
    graph.dispose();
  }
  return all;
}
