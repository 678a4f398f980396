/**
 * `Ops` as operators of ggml: a value is a matrix with one column per token. If a kernel would make a token's bits depend on the other
 * tokens of the pass, the graph is written so that they do not. Knows operators and weights, no stages and no exits.
 */
import type { Ops } from '../../model/ops.ts';
import type { Activation, NormSpec } from '../../model/spec.ts';
import type { GraphSketch, Value } from '../graph.ts';
import type { Tensor } from '../library.ts';
import type { Processor } from '../processor.ts';
import type { Weights } from '../weights.ts';
import { attentionOf } from './attention.ts';
import { mixtureOf } from './mixture.ts';
import { byHead, value, type OpsOptions, type Pass } from './pass.ts';
import { linearsOf } from './products.ts';
import { rotaryOf } from './rotary.ts';

/** Adds inputs to the graph when they are first needed; their names and shapes are in attention.ts and rotary.ts. */
export function ggmlOps(processor: Processor, sketch: GraphSketch, weights: Weights, options: OpsOptions): Ops<Value> {
  const { library: g } = processor;
  const { context: c } = sketch;
  const columns = options.tokens * options.batch;
  const pass: Pass = { ...options, processor, sketch, weights, columns };

  const dense = ({ tensor, stride }: Value): Tensor => (stride === undefined ? tensor : g.cont(c, tensor));

  const normalised = (x: Tensor, { kind, epsilon }: NormSpec): Tensor =>
    kind === 'rms' ? g.rmsNorm(c, x, epsilon) : g.norm(c, x, epsilon);

  /** With its gain, and its bias if there is one. */
  const gained = (x: Tensor, path: string, { kind, unitOffset }: NormSpec): Tensor => {
    const scaled = g.mul(c, x, weights.vector(`${path}.weight`, unitOffset));
    const bias = `${path}.bias`;
    return kind === 'layer' && weights.has(bias) ? g.add(c, scaled, weights.vector(bias)) : scaled;
  };

  const norm = (x: Value, path: string, spec: NormSpec): Value =>
    value(gained(normalised(x.tensor, spec), path, spec), x.width);

  const add = (a: Value, b: Value): Value =>
    b.isZero ? a : a.isZero ? b : value(g.add(c, a.tensor, b.tensor), a.width);

  /** ggml's own goes through a table of 16 bits: x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))). */
  const geluTanh = (input: Value): Value => {
    const x = dense(input);
    const cubed = g.mul(c, g.sqr(c, x), x);
    const inner = g.scale(c, g.add(c, x, g.scale(c, cubed, 0.044715)), Math.sqrt(2 / Math.PI));
    const half = g.scale(c, x, 0.5);
    return value(g.add(c, half, g.mul(c, half, g.tanh(c, inner))), input.width);
  };

  const ops: Ops<Value> = {
    ...linearsOf(pass),
    norm,
    addNorm(x, delta, path, spec) {
      const sum = add(x, delta);
      return { sum, normed: norm(sum, path, spec) };
    },
    headNorm(x, path, heads, spec, gains) {
      const whole = (y: Tensor): Tensor => g.reshape2(c, y, x.width, columns);
      const normed = normalised(byHead(pass, x, heads, columns), spec);
      return value(gains === 'each' ? gained(whole(normed), path, spec) : whole(gained(normed, path, spec)), x.width);
    },
    rotary: rotaryOf(pass),
    attention: attentionOf(pass),
    activation(x, kind: Activation) {
      switch (kind) {
        case 'silu':
          return { ...value(g.silu(c, x.tensor), x.width), siluOf: x.tensor };
        case 'gelu':
          return value(g.geluErf(c, x.tensor), x.width);
        case 'gelu_tanh':
          return options.exact ? geluTanh(x) : value(g.gelu(c, x.tensor), x.width);
      }
    },
    mixture: (x, path, mixture, kind) => mixtureOf(pass, ops, { x, path, mixture, kind }),
    add,
    mul: (a, b) =>
      value(a.siluOf === undefined ? g.mul(c, a.tensor, b.tensor) : g.swigluSplit(c, a.siluOf, b.tensor), a.width),
    scale: (x, factor) => (factor === 0 ? { ...x, isZero: true } : value(g.scale(c, dense(x), factor), x.width)),
    softcap: (x, cap) => value(g.scale(c, g.tanh(c, g.scale(c, dense(x), 1 / cap)), cap), x.width),
    halves(x) {
      const half = x.width / 2;
      const part = (n: number): Value =>
        value(g.cont(c, g.view2(c, x.tensor, half, columns, x.width * 4, n * half * 4)), half);
      return [part(0), part(1)];
    },
    concat: (a, b) => value(g.concat(c, a.tensor, b.tensor, 0), a.width + b.width),
  };
  return ops;
}
