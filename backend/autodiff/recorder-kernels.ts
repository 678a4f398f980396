/**
 * How each tfjs kernel is written as ONNX nodes: one row a kernel. Knows names and shapes, no values.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { GraphBuilder } from '../onnx/builder.ts';

/** A tensor of the graph being recorded. Its nodes are written when its name is first used, so unused tensors are not written. */
export interface Recorded extends Known {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: tf.DataType;
}

/** What is known of a tensor beyond its shape, for rules that can do better with it. */
export interface Known {
  /** The value of every element. */
  readonly uniform?: number | undefined;
  /** Elementwise square of this tensor. */
  readonly squareOf?: Recorded | undefined;
}

export interface Result extends Known {
  /** Writes the nodes; returns the name of the output. */
  readonly write: () => string;
  readonly shape: readonly number[];
  /** Default: the first input's. */
  readonly dtype?: tf.DataType;
}

export type Attributes = Readonly<Record<string, unknown>>;
export type Inputs = Readonly<Record<string, Recorded>> & { readonly list: readonly Recorded[] };

export type KernelRule = (graph: GraphBuilder, inputs: Inputs, attributes: Attributes) => Result;

const contrib = 'com.microsoft';

const binary =
  (operator: string): KernelRule =>
  (graph, { a, b }) => ({
    write: () => graph.node(operator, [a!.name, b!.name]),
    shape: tf.backend_util.assertAndGetBroadcastShape([...a!.shape], [...b!.shape]),
  });

const unary =
  (operator: string): KernelRule =>
  (graph, { x }) => ({ write: () => graph.node(operator, [x!.name]), shape: x!.shape });

const reduction =
  (operator: string): KernelRule =>
  (graph, inputs, attributes) => {
    const x = (inputs['x'] ?? inputs['input'])!;
    const axis = (attributes['axis'] ?? attributes['reductionIndices'] ?? x.shape.map((_, i) => i)) as number[];
    const axes = tf.util.parseAxisParam(axis, [...x.shape]);
    const keep = attributes['keepDims'] === true;
    const shape = keep
      ? x.shape.map((size, i) => (axes.includes(i) ? 1 : size))
      : x.shape.filter((_, i) => !axes.includes(i));
    const reduce = (kind: string, of: Recorded): string =>
      graph.node(kind, [of.name, graph.ints(axes)], { keepdims: keep ? 1 : 0 });
    const square = operator === 'ReduceSum' ? x.squareOf : undefined;
    return { write: () => (square ? reduce('ReduceSumSquare', square) : reduce(operator, x)), shape };
  };

/** The tensor itself under another shape or none. */
const same = (x: Recorded): Result => ({ write: () => x.name, shape: x.shape, dtype: x.dtype, uniform: x.uniform });

/** A product with ones is the other factor; gradients bring many. */
const multiply: KernelRule = (graph, inputs, attributes) => {
  const a = inputs['a']!;
  const b = inputs['b']!;
  const product = binary('Mul')(graph, inputs, attributes);
  if (a.uniform !== undefined && b.uniform !== undefined) return { ...product, uniform: a.uniform * b.uniform };
  for (const [one, other] of [
    [a, b],
    [b, a],
  ] as const) {
    if (one.uniform === 1 && tf.util.arraysEqual([...other.shape], [...product.shape])) return same(other);
  }
  return product;
};

const asInt64 = (graph: GraphBuilder, x: Recorded): string => graph.node('Cast', [x.name], { to: 7 });

/** Two-dimensional products are Gemm, which reads a transposed operand in place; batches go to FusedMatMul. */
const matMul: KernelRule = (graph, { a, b }, attributes) => {
  const transA = attributes['transposeA'] === true ? 1 : 0;
  const transB = attributes['transposeB'] === true ? 1 : 0;
  const rows = a!.shape.at(transA ? -1 : -2)!;
  const columns = b!.shape.at(transB ? -2 : -1)!;
  if (a!.shape.length === 2) {
    return { write: () => graph.node('Gemm', [a!.name, b!.name], { transA, transB }), shape: [rows, columns] };
  }
  const batch = tf.backend_util.assertAndGetBroadcastShape(a!.shape.slice(0, -2), b!.shape.slice(0, -2));
  const write = (): string => graph.node('FusedMatMul', [a!.name, b!.name], { transA, transB }, contrib);
  return { write, shape: [...batch, rows, columns] };
};

export const kernelRules: Readonly<Record<string, KernelRule>> = {
  [tf.Add]: binary('Add'),
  [tf.Sub]: binary('Sub'),
  [tf.Multiply]: multiply,
  [tf.RealDiv]: binary('Div'),
  [tf.Maximum]: binary('Max'),
  [tf.Exp]: unary('Exp'),
  [tf.Log]: unary('Log'),
  [tf.Neg]: unary('Neg'),
  [tf.Sqrt]: unary('Sqrt'),
  [tf.Sigmoid]: unary('Sigmoid'),
  [tf.Tanh]: unary('Tanh'),
  [tf.Erf]: unary('Erf'),
  [tf.Identity]: (_, { x }) => same(x!),
  [tf.Square]: (graph, { x }) => ({
    write: () => graph.node('Mul', [x!.name, x!.name]),
    shape: x!.shape,
    squareOf: x!,
  }),
  [tf.Rsqrt]: (graph, { x }) => ({
    write: () => graph.node('Reciprocal', [graph.node('Sqrt', [x!.name])]),
    shape: x!.shape,
  }),
  [tf.Sum]: reduction('ReduceSum'),
  [tf.Mean]: reduction('ReduceMean'),
  [tf.Max]: reduction('ReduceMax'),
  [tf.Softmax]: (graph, { logits }) => ({
    write: () => graph.node('Softmax', [logits!.name], { axis: -1 }),
    shape: logits!.shape,
  }),
  [tf.BatchMatMul]: matMul,
  [tf.Reshape]: (graph, { x }, attributes) => {
    const shape = tf.util.inferFromImplicitShape(attributes['shape'] as number[], tf.util.sizeFromShape([...x!.shape]));
    return { write: () => graph.node('Reshape', [x!.name, graph.ints(shape)]), shape, uniform: x!.uniform };
  },
  [tf.Transpose]: (graph, { x }, attributes) => {
    const perm = attributes['perm'] as number[];
    return { write: () => graph.node('Transpose', [x!.name], { perm }), shape: perm.map((axis) => x!.shape[axis]!) };
  },
  [tf.Slice]: (graph, { x }, attributes) => {
    const begin = attributes['begin'] as number[];
    const shape = (attributes['size'] as number[]).map((size, i) => (size === -1 ? x!.shape[i]! - begin[i]! : size));
    const axes = shape.map((_, i) => i).filter((i) => begin[i] !== 0 || shape[i] !== x!.shape[i]);
    if (!axes.length) return same(x!);
    const bounds = [axes.map((i) => begin[i]!), axes.map((i) => begin[i]! + shape[i]!), axes];
    const write = (): string => graph.node('Slice', [x!.name, ...bounds.map((bound) => graph.ints(bound))]);
    return { write, shape, uniform: x!.uniform };
  },
  [tf.PadV2]: (graph, { x }, attributes) => {
    const paddings = attributes['paddings'] as [number, number][];
    const pads = [...paddings.map(([before]) => before), ...paddings.map(([, after]) => after)];
    const value = attributes['constantValue'] as number;
    return {
      write: () => graph.node('Pad', [x!.name, graph.ints(pads), graph.scalar(value)]),
      shape: x!.shape.map((size, i) => size + paddings[i]![0] + paddings[i]![1]),
    };
  },
  [tf.Concat]: (graph, { list }, attributes) => {
    const axis = tf.util.parseAxisParam(attributes['axis'] as number, [...list[0]!.shape])[0]!;
    const size = list.reduce((sum, { shape }) => sum + shape[axis]!, 0);
    return {
      write: () =>
        graph.node(
          'Concat',
          list.map(({ name }) => name),
          { axis },
        ),
      shape: list[0]!.shape.map((each, i) => (i === axis ? size : each)),
      dtype: list[0]!.dtype,
    };
  },
  [tf.GatherV2]: (graph, { x, indices }, attributes) => {
    const axis = tf.util.parseAxisParam(attributes['axis'] as number, [...x!.shape])[0]!;
    return {
      write: () => graph.node('Gather', [x!.name, indices!.name], { axis }),
      shape: [...x!.shape.slice(0, axis), ...indices!.shape, ...x!.shape.slice(axis + 1)],
      dtype: x!.dtype,
    };
  },
  [tf.GatherNd]: (graph, { params, indices }) => ({
    write: () => graph.node('GatherND', [params!.name, asInt64(graph, indices!)]),
    shape: [...indices!.shape.slice(0, -1), ...params!.shape.slice(indices!.shape.at(-1))],
    dtype: params!.dtype,
  }),
  [tf.TensorScatterUpdate]: (graph, { tensor, indices, updates }) => ({
    write: () => graph.node('ScatterND', [tensor!.name, asInt64(graph, indices!), updates!.name]),
    shape: tensor!.shape,
    dtype: tensor!.dtype,
  }),
  [tf.Fill]: (graph, _, attributes) => {
    const shape = attributes['shape'] as number[];
    const value = attributes['value'] as number;
    const write = (): string => graph.node('Expand', [graph.scalar(value), graph.ints(shape)]);
    return { write, shape, dtype: 'float32', uniform: value };
  },
};
