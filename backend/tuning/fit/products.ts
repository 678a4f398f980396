/** Products that are too large for JavaScript, for solutions in closed form. Knows no regression. */
import type { Multiply } from '../../exits/ridge.ts';
import { GraphBuilder, type BuiltGraph } from '../../onnx/builder.ts';
import type { Session } from '../../onnx/session.ts';

/** Opens a session for a graph. The caller that supplies this function also closes the session. */
export type Open = (graph: BuiltGraph) => Promise<Session>;

/** Products of 64 bits. */
export async function openProducts(open: Open): Promise<Multiply> {
  const builder = new GraphBuilder();
  builder.input('a', 'float64', ['rows', 'inner']);
  builder.input('b', 'float64', ['inner', 'columns']);
  builder.output(builder.node('MatMul', ['a', 'b']), 'product', 'float64', ['rows', 'columns']);
  const session = await open(builder.build());
  return async (a, b, rows, inner, columns) => {
    const feeds = { a: { data: a, shape: [rows, inner] }, b: { data: b, shape: [inner, columns] } };
    return (await session.run(feeds))['product']!.data as Float64Array;
  };
}

/** How long a product of two square matrices takes here. */
export async function secondsOfProduct(multiply: Multiply, size: number): Promise<number> {
  const matrix = new Float64Array(size * size);
  // The first one takes memory.
  await multiply(matrix, matrix, size, size, size);
  const before = performance.now();
  await multiply(matrix, matrix, size, size, size);
  return (performance.now() - before) / 1000;
}
