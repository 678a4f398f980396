/** One product of matrices, in ONNX Runtime: a head and a translator are a minute of JavaScript. */
import { GraphBuilder } from '../onnx/builder.ts';
import { openSession } from '../onnx/session.ts';

/** a `[rows, inner]` · b `[inner, columns]`. */
export async function product(
  a: Float32Array,
  b: Float32Array,
  [rows, inner, columns]: readonly [number, number, number],
): Promise<Float32Array> {
  const builder = new GraphBuilder();
  builder.input('a', 'float32', ['rows', 'inner']);
  builder.input('b', 'float32', ['inner', 'columns']);
  builder.output(builder.node('MatMul', ['a', 'b']), 'product', 'float32', ['rows', 'columns']);
  const session = await openSession(builder.build(), { memory: 'nothing' });
  try {
    const feeds = { a: { data: a, shape: [rows, inner] }, b: { data: b, shape: [inner, columns] } };
    return (await session.run(feeds))['product']!.data as Float32Array;
  } finally {
    await session.dispose();
  }
}
