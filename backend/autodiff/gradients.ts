/**
 * Gradients of the tfjs kernels that the exits use, registered when this module is loaded. The Node build of tfjs-core has none (only its
 * browser modules do), and these sum over no axis that was not broadcast.
 */
import * as tf from '@tensorflow/tfjs-core';

type Gradient = (dy: tf.Tensor, saved: readonly tf.Tensor[], attributes: Attributes) => Record<string, () => tf.Tensor>;
type Attributes = Readonly<Record<string, unknown>>;

interface GradientRule {
  readonly kernel: string;
  readonly inputs?: readonly string[];
  /** Whether the kernel's output is saved, after its inputs. */
  readonly output?: boolean;
  readonly gradient: Gradient;
}

/** Sums a gradient over the axes along which an operand of `shape` was broadcast. */
function unbroadcast(gradient: tf.Tensor, shape: readonly number[]): tf.Tensor {
  const axes = tf.broadcast_util.getReductionAxes([...shape], gradient.shape);
  return tf.reshape(axes.length ? tf.sum(gradient, axes) : gradient, [...shape]);
}

/** Spreads the gradient of a reduction over `axis` back to `shape`. */
function spread(dy: tf.Tensor, x: tf.Tensor, axis: number | readonly number[] | null, factor: number): tf.Tensor {
  const axes = tf.util.parseAxisParam((axis ?? x.shape.map((_, i) => i)) as number[], x.shape);
  const kept = tf.backend_util.expandShapeToKeepDim(
    x.shape.filter((_, i) => !axes.includes(i)),
    axes,
  );
  return tf.mul(tf.reshape(dy, kept), tf.fill(x.shape, factor));
}

const meanFactor = (x: tf.Tensor, axis: unknown): number => {
  const axes = tf.util.parseAxisParam((axis ?? x.shape.map((_, i) => i)) as number[], x.shape);
  return 1 / axes.reduce((count, i) => count * x.shape[i]!, 1);
};

const unary = (kernel: string, gradient: (dy: tf.Tensor, x: tf.Tensor) => tf.Tensor): GradientRule => ({
  kernel,
  inputs: ['x'],
  gradient: (dy, [x]) => ({ x: () => gradient(dy, x!) }),
});

/** The derivative in terms of the kernel's own result y. */
const ofOutput = (kernel: string, gradient: (dy: tf.Tensor, y: tf.Tensor) => tf.Tensor): GradientRule => ({
  kernel,
  output: true,
  gradient: (dy, [y]) => ({ x: () => gradient(dy, y!) }),
});

function matMulGradient(
  dy: tf.Tensor,
  a: tf.Tensor,
  b: tf.Tensor,
  transposeA: boolean,
  transposeB: boolean,
): Record<string, () => tf.Tensor> {
  return {
    a: () => (transposeA ? tf.matMul(b, dy, transposeB, true) : tf.matMul(dy, b, false, !transposeB)),
    b: () => (transposeB ? tf.matMul(dy, a, true, transposeA) : tf.matMul(a, dy, !transposeA, false)),
  };
}

const rules: readonly GradientRule[] = [
  {
    kernel: tf.Add,
    inputs: ['a', 'b'],
    gradient: (dy, [a, b]) => ({ a: () => unbroadcast(dy, a!.shape), b: () => unbroadcast(dy, b!.shape) }),
  },
  {
    kernel: tf.Sub,
    inputs: ['a', 'b'],
    gradient: (dy, [a, b]) => ({ a: () => unbroadcast(dy, a!.shape), b: () => unbroadcast(tf.neg(dy), b!.shape) }),
  },
  {
    kernel: tf.Multiply,
    inputs: ['a', 'b'],
    gradient: (dy, [a, b]) => ({
      a: () => unbroadcast(tf.mul(dy, b!), a!.shape),
      b: () => unbroadcast(tf.mul(dy, a!), b!.shape),
    }),
  },
  {
    kernel: tf.BatchMatMul,
    inputs: ['a', 'b'],
    gradient: (dy, [a, b], { transposeA, transposeB }) =>
      matMulGradient(dy, a!, b!, transposeA === true, transposeB === true),
  },
  {
    kernel: tf.Sum,
    inputs: ['x'],
    gradient: (dy, [x], { axis }) => ({ x: () => spread(dy, x!, axis as number[] | null, 1) }),
  },
  {
    kernel: tf.Mean,
    inputs: ['x'],
    gradient: (dy, [x], { axis }) => ({ x: () => spread(dy, x!, axis as number[] | null, meanFactor(x!, axis)) }),
  },
  unary(tf.Reshape, (dy, x) => tf.reshape(dy, x.shape)),
  unary(tf.Square, (dy, x) => tf.mul(dy, tf.mul(x, 2))),
  unary(tf.Neg, (dy) => tf.neg(dy)),
  unary(tf.Erf, (dy, x) => tf.mul(dy, tf.mul(tf.exp(tf.neg(tf.square(x))), 2 / Math.sqrt(Math.PI)))),
  ofOutput(tf.Sigmoid, (dy, y) => tf.mul(dy, tf.mul(y, tf.sub(1, y)))),
  ofOutput(tf.Tanh, (dy, y) => tf.mul(dy, tf.sub(1, tf.square(y)))),
  ofOutput(tf.Rsqrt, (dy, y) => tf.mul(tf.mul(dy, -0.5), tf.mul(tf.square(y), y))),
  {
    kernel: tf.Softmax,
    output: true,
    gradient: (dy, [y]) => ({
      logits: () => {
        const weighted = tf.mul(dy, y!);
        return tf.sub(weighted, tf.mul(tf.sum(weighted, -1, true), y!));
      },
    }),
  },
  {
    kernel: tf.Transpose,
    gradient: (dy, _, { perm }) => ({
      x: () => tf.transpose(dy, tf.backend_util.getUndoAxesPermutation(perm as number[])),
    }),
  },
  {
    kernel: tf.Slice,
    inputs: ['x'],
    gradient: (dy, [x], { begin }) => ({
      x: () => {
        const start = begin as number[];
        const paddings = start.map((from, i): [number, number] => [from, x!.shape[i]! - from - dy.shape[i]!]);
        return tf.pad(dy, paddings);
      },
    }),
  },
];

for (const { kernel, inputs, output, gradient } of rules) {
  tf.registerGradient({
    kernelName: kernel,
    inputsToSave: [...(inputs ?? [])],
    outputsToSave: output ? [true] : [],
    gradFunc: (dy, saved, attributes) => gradient(dy as tf.Tensor, saved, attributes),
  });
}
