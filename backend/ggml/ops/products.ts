/** Products of columns with weights, written so that a token's bits do not depend on the number of tokens in the pass. */
import type { Ops } from '../../model/ops.ts';
import type { Value } from '../graph.ts';
import type { Tensor } from '../library.ts';
import { fewTogether, tileStep } from '../processor.ts';
import type { Matrix } from '../weights.ts';
import { value, type Pass } from './pass.ts';

export function linearsOf(pass: Pass): Pick<Ops<Value>, 'linear' | 'linears'> {
  const { weights, columns } = pass;
  const { library: g } = pass.processor;
  const { context: c } = pass.sketch;

  const biased = (y: Value, path: string): Value => {
    const bias = `${path}.bias`;
    return weights.has(bias) ? value(g.add(c, y.tensor, weights.vector(bias)), y.width) : y;
  };

  const linear = (x: Value, path: string): Value => {
    const matrix = weights.matrix(`${path}.weight`);
    const [y, width] = [product(pass, matrix, x), matrix.parts[0]!];
    if (y.width === width) return biased(y, path);
    const own = g.view2(c, y.tensor, width, columns, y.width * 4, 0);
    return biased(value(columns === 1 ? own : g.cont(c, own), width), path);
  };

  return {
    linear,
    /** One product for all paths, if their weights are stored as one: threads wait for each other once, and the input is rounded once. */
    linears(x, paths) {
      const joined = weights.joined(paths.map((path) => `${path}.weight`));
      if (joined === null) return paths.map((path) => linear(x, path));
      const y = product(pass, joined, x);
      const stride = y.width * 4;
      let first = 0;
      return paths.map((path, i) => {
        const width = joined.parts[i]!;
        const tensor = g.view2(c, y.tensor, width, columns, stride, first * 4);
        first += width;
        return biased({ tensor, width, stride }, path);
      });
    },
  };
}

function product(pass: Pass, matrix: Matrix, x: Value): Value {
  const { columns, isTiled } = pass;
  const { library: g } = pass.processor;
  const { context: c } = pass.sketch;
  const { tensor, rows, few, alone } = matrix;
  if (few !== null) return value(isTiled ? inTiles(pass, matrix, x) : byFew(pass, matrix, few, x), rows);
  if (columns > 1 && columns <= alone) {
    const { width, stride = width * 4 } = x;
    const column = (i: number): Tensor => g.view2(c, x.tensor, width, 1, stride, i * stride);
    const each = Array.from({ length: columns }, (_, i) => g.mulMat(c, tensor, column(i)));
    return value(
      each.reduce((left, right) => g.concat(c, left, right, 1)),
      rows,
    );
  }
  return value(g.mulMat(c, tensor, x.tensor), rows);
}

/** Products of at most `few` tokens each; all products of one size are one operator. */
function byFew(pass: Pass, { tensor, rows }: Matrix, few: number, x: Value): Tensor {
  const { columns } = pass;
  const { library: g } = pass.processor;
  const { context: c } = pass.sketch;
  const { width, stride = width * 4 } = x;
  const part = (from: number, each: number, times: number): Tensor => {
    const some = g.view4(
      c,
      x.tensor,
      width,
      each,
      times,
      1,
      stride,
      each * stride,
      times * each * stride,
      from * stride,
    );
    return g.reshape2(c, g.mulMat(c, tensor, some), rows, each * times);
  };
  const each = fewTogether[few]!.find((size) => columns % size === 0);
  if (each !== undefined) return part(0, each, columns / each);
  const left = columns % few;
  const last = part(columns - left, left, 1);
  return columns === left ? last : g.concat(c, part(0, few, (columns - left) / few), last, 1);
}

/** A product of a multiple of `tileStep` tokens, padded with repeated tokens. */
function inTiles(pass: Pass, { tensor, rows }: Matrix, x: Value): Tensor {
  const { columns } = pass;
  const { library: g } = pass.processor;
  const { context: c } = pass.sketch;
  const { width, stride = width * 4 } = x;
  const missing = (tileStep - (columns % tileStep)) % tileStep;
  if (missing === 0) return g.mulMat(c, tensor, x.tensor);
  const more =
    columns === 1
      ? g.repeat4(c, x.tensor, width, tileStep, 1, 1)
      : g.concat(c, x.tensor, g.view2(c, x.tensor, width, missing, stride, 0), 1);
  return g.view2(c, g.mulMat(c, tensor, more), rows, columns, rows * 4, 0);
}
