/**
 * The yardstick for a tuning step: ONNX Runtime's own Gemm on the products that a step cannot do without, and nothing
 * besides. Of each product one row is copied out, so that copies do not count.
 */
import { exitParameters, isMatrix } from '../../../backend/exits/parameters.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { GraphBuilder } from '../../../backend/onnx/builder.ts';
import type { Model } from '../../../backend/model/open.ts';
import { openSession, type Session } from '../../../backend/onnx/session.ts';
import type { Contestant } from '../measure.ts';

/** A product of `[rows, inner]` and `[inner, columns]`, either given transposed. */
export interface Product {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
  readonly transposed: 'none' | 'first' | 'second';
}

/**
 * The products of one step over `tokens` positions: of every trained matrix W `[out, in]` the forward product x·Wᵀ, the gradient
 * gᵀ·x of W, and g·W, the gradient of x, where anything trained lies below.
 */
export function stepProducts({ spec, parameters }: Model, exits: readonly ExitSpec[], tokens: number): Product[] {
  return exits.flatMap((exit) =>
    exitParameters(spec, exit, parameters)
      .filter(isMatrix)
      .flatMap(({ name, shape }): Product[] => {
        const [out, input] = shape as [number, number];
        // What an `mlp` exit's first matrices read is the frozen norm of a frozen stream.
        const isFirst = /\.mlp\.(gate|up)_proj\.weight$/.test(name);
        return [
          { rows: tokens, inner: input, columns: out, transposed: 'second' },
          { rows: out, inner: tokens, columns: input, transposed: 'first' },
          ...(isFirst ? [] : [{ rows: tokens, inner: out, columns: input, transposed: 'none' } as const]),
        ];
      }),
  );
}

export const operations = (products: readonly Product[]): number =>
  products.reduce((sum, { rows, inner, columns }) => sum + 2 * rows * inner * columns, 0);

/** Times all products, one after the other. */
export async function gemmContestant(
  name: string,
  products: readonly Product[],
  threads: number,
): Promise<Contestant & { dispose(): Promise<void> }> {
  const numbers = new Float32Array(Math.max(...products.flatMap((p) => [p.rows * p.inner, p.inner * p.columns])));
  for (let i = 0; i < numbers.length; i++) numbers[i] = ((i * 7919) % 2001) / 1000 - 1;
  const sessions = new Map<string, Session>();
  for (const product of products) {
    const key = JSON.stringify(product);
    if (!sessions.has(key)) sessions.set(key, await openSession(productGraph(product), { threads }));
  }
  return {
    name,
    async turn() {
      let seconds = 0;
      for (const product of products) {
        const session = sessions.get(JSON.stringify(product))!;
        const feeds = Object.fromEntries(
          operands(product).map(({ name: operand, shape }) => [
            operand,
            { data: numbers.subarray(0, shape[0]! * shape[1]!), shape },
          ]),
        );
        const started = performance.now();
        await session.run(feeds);
        seconds += (performance.now() - started) / 1000;
      }
      return { [name]: seconds };
    },
    async dispose() {
      for (const session of sessions.values()) await session.dispose();
    },
  };
}

function operands({ rows, inner, columns, transposed }: Product): { name: string; shape: readonly number[] }[] {
  return [
    { name: 'first', shape: transposed === 'first' ? [inner, rows] : [rows, inner] },
    { name: 'second', shape: transposed === 'second' ? [columns, inner] : [inner, columns] },
  ];
}

function productGraph(product: Product): ReturnType<GraphBuilder['build']> {
  const builder = new GraphBuilder();
  const [first, second] = operands(product).map(({ name, shape }) => builder.input(name, 'float32', shape));
  const all = builder.node('Gemm', [first!, second!], {
    transA: Number(product.transposed === 'first'),
    transB: Number(product.transposed === 'second'),
  });
  const row = builder.node('Slice', [all, builder.ints([0]), builder.ints([1]), builder.ints([0])]);
  builder.output(row, 'row', 'float32', [1, product.columns]);
  return builder.build();
}
