/**
 * The primitives of a model computed with TensorFlow.js, differentiably and without a past: what exits are trained with.
 * Knows neither the backend it runs on nor whether it is being recorded.
 */
import './gradients.ts';
import * as tf from '@tensorflow/tfjs-core';
import type { Ops } from '../model/ops.ts';
import {
  ropeFactor,
  ropeFrequencies,
  type Activation,
  type LayerSpec,
  type ModelSpec,
  type NormSpec,
  type RopeSpec,
} from '../model/spec.ts';

/** Parameters by name: a linear's `<path>.weight` is `[out, in]`; a `<path>.bias` that is absent is not added. */
export type TensorTable = ReadonlyMap<string, tf.Tensor>;

/** Large enough to vanish in a softmax, small enough to stay finite. */
const masked = -1e9;

/** `Ops` over float32 tensors `[batch, tokens, width]`. Throws if a parameter is missing from the table. */
export function tensorOps(parameters: TensorTable): Ops<tf.Tensor> {
  const weight = (path: string): tf.Tensor => {
    const tensor = parameters.get(`${path}.weight`);
    if (!tensor) throw new Error(`no parameter "${path}.weight" among ${[...parameters.keys()].join(', ')}`);
    return tensor;
  };
  const biased = (y: tf.Tensor, path: string): tf.Tensor => {
    const bias = parameters.get(`${path}.bias`);
    return bias ? tf.add(y, bias) : y;
  };
  const linear = (x: tf.Tensor, path: string): tf.Tensor => {
    const w = weight(path);
    const rows = tf.reshape(x, [-1, x.shape.at(-1)!]);
    return tf.reshape(biased(tf.matMul(rows, w, false, true), path), [...x.shape.slice(0, -1), w.shape[0]]);
  };
  const norm = (x: tf.Tensor, path: string, spec: NormSpec, shape: number[] = [-1]): tf.Tensor => {
    const stored = tf.reshape(weight(path), shape);
    const gain = spec.unitOffset ? tf.add(stored, 1) : stored;
    return biased(tf.mul(spec.kind === 'rms' ? unitRms(x, spec.epsilon) : unitVariance(x, spec.epsilon), gain), path);
  };
  return {
    linear,
    linears: (x, paths) => paths.map((path) => linear(x, path)),
    norm,
    addNorm: (x, delta, path, spec) => {
      const sum = tf.add(x, delta);
      return { sum, normed: norm(sum, path, spec) };
    },
    headNorm: (x, path, heads, spec, gains) => {
      const split = tf.reshape(x, [...x.shape.slice(0, -1), heads, -1]);
      return tf.reshape(norm(split, path, spec, gains === 'each' ? [heads, -1] : [-1]), x.shape);
    },
    rotary,
    attention: (q, k, v, spec, layer, _slot, sinks) => attention(q, k, v, spec, layer, sinks ? weight(sinks) : null),
    activation,
    add: (a, b) => tf.add(a, b),
    mul: (a, b) => tf.mul(a, b),
    scale: (x, factor) => tf.mul(x, factor),
    softcap,
    halves: (x) => {
      const half = x.shape.at(-1)! / 2;
      return [lastAxis(x, 0, half), lastAxis(x, half, half)];
    },
    concat: join,
  };
}

function unitRms(x: tf.Tensor, epsilon: number): tf.Tensor {
  return tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon)));
}

function unitVariance(x: tf.Tensor, epsilon: number): tf.Tensor {
  return unitRms(tf.sub(x, tf.mean(x, -1, true)), epsilon);
}

/** `size` entries of the last axis from `begin`. */
function lastAxis(x: tf.Tensor, begin: number, size: number): tf.Tensor {
  return tf.slice(x, [...x.shape.slice(0, -1).map(() => 0), begin], [...x.shape.slice(0, -1), size]);
}

/** Joins along the last axis. Its gradient is written here because tfjs's would need one more kernel for the same slices. */
function join(...parts: tf.Tensor[]): tf.Tensor {
  const joined = tf.customGrad((...args) => {
    const tensors = args.slice(0, parts.length) as tf.Tensor[];
    return {
      value: tf.concat(tensors, -1),
      gradFunc: (dy: tf.Tensor) => {
        let begin = 0;
        return parts.map((part) => {
          const size = part.shape.at(-1)!;
          begin += size;
          return lastAxis(dy, begin - size, size);
        });
      },
    };
  });
  return joined(...parts);
}

/** Rotates pairs (j, j + dimensions/2) of every head by `position · frequency[j]`; positions count from 0. */
function rotary(x: tf.Tensor, heads: number, headDimensions: number, rope: RopeSpec): tf.Tensor {
  const [batch, tokens] = x.shape as [number, number, number];
  const half = rope.dimensions / 2;
  const frequencies = ropeFrequencies(rope, tokens);
  const turned = (of: (angle: number) => number): tf.Tensor =>
    tf.tensor(
      Float32Array.from({ length: tokens * half }, (_, i) => {
        const position = Math.floor(i / half);
        return of(Math.fround(position * frequencies[i % half]!)) * ropeFactor(rope, position);
      }),
      [tokens, 1, half],
    );
  const cos = turned(Math.cos);
  const sin = turned(Math.sin);
  const turn = (value: tf.Tensor, cosine: tf.Tensor, sine: tf.Tensor): tf.Tensor => {
    const first = lastAxis(value, 0, half);
    const second = lastAxis(value, half, half);
    const rest = headDimensions - rope.dimensions;
    return tf.concat(
      [
        tf.sub(tf.mul(first, cosine), tf.mul(second, sine)),
        tf.add(tf.mul(second, cosine), tf.mul(first, sine)),
        ...(rest ? [lastAxis(value, rope.dimensions, rest)] : []),
      ],
      -1,
    );
  };
  // The gradient of a rotation is the rotation back.
  const rotation = tf.customGrad((...args) => {
    (args[1] as tf.GradSaveFunc)([cos, sin]);
    return {
      value: turn(args[0] as tf.Tensor, cos, sin),
      gradFunc: (dy: tf.Tensor, [cosine, sine]: tf.Tensor[]) => turn(dy, cosine!, tf.neg(sine!)),
    };
  });
  return tf.reshape(rotation(tf.reshape(x, [batch, tokens, heads, headDimensions])), x.shape);
}

/**
 * Causal attention within the sequence. The query heads that share a key head are stacked along the rows of one
 * product, so keys and values are never repeated. `sinks` `[heads]` are scores of nothing, which take their share.
 */
function attention(
  q: tf.Tensor,
  k: tf.Tensor,
  v: tf.Tensor,
  spec: ModelSpec,
  layer: LayerSpec,
  sinks: tf.Tensor | null,
): tf.Tensor {
  const { heads, kvHeads, headDimensions } = spec;
  const [batch, tokens] = q.shape as [number, number, number];
  const group = heads / kvHeads;
  const byHead = (x: tf.Tensor, count: number): tf.Tensor =>
    tf.transpose(tf.reshape(x, [batch, tokens, count, headDimensions]), [0, 2, 1, 3]);
  const queries = tf.reshape(byHead(q, heads), [batch, kvHeads, group * tokens, headDimensions]);
  let scores = tf.mul(tf.matMul(queries, byHead(k, kvHeads), false, true), spec.attentionScale);
  if (spec.attentionSoftcap !== null) scores = softcap(scores, spec.attentionSoftcap);
  const open = tf.add(tf.reshape(scores, [batch, heads, tokens, tokens]), causalMask(tokens, layer.window));
  const shares = tf.reshape(sinks ? softmaxBeside(open, sinks) : tf.softmax(open), [
    batch,
    kvHeads,
    group * tokens,
    tokens,
  ]);
  const mixed = tf.reshape(tf.matMul(shares, byHead(v, kvHeads)), [batch, heads, tokens, headDimensions]);
  return tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [batch, tokens, heads * headDimensions]);
}

/** Softmax over the scores `[batch, heads, tokens, keys]` and one more score for each head; the result is without the share of that one. */
function softmaxBeside(scores: tf.Tensor, sinks: tf.Tensor): tf.Tensor {
  const [batch, heads, tokens, keys] = scores.shape as [number, number, number, number];
  const beside = tf.add(tf.zeros([batch, heads, tokens, 1]), tf.reshape(sinks, [1, heads, 1, 1]));
  return lastAxis(tf.softmax(join(scores, beside)), 0, keys);
}

/** 0 if the position attends to the key, else `masked`: `[tokens, tokens]`. A window counts the own position. */
function causalMask(tokens: number, window: number | null): tf.Tensor {
  const mask = new Float32Array(tokens * tokens).fill(masked);
  for (let row = 0; row < tokens; row++) {
    mask.fill(0, row * tokens + Math.max(0, row + 1 - (window ?? tokens)), row * tokens + row + 1);
  }
  return tf.tensor(mask, [tokens, tokens]);
}

function activation(x: tf.Tensor, kind: Activation): tf.Tensor {
  switch (kind) {
    case 'silu':
      return tf.mul(x, tf.sigmoid(x));
    case 'gelu':
      return tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));
    case 'gelu_tanh': {
      const cubic = tf.add(x, tf.mul(tf.mul(tf.square(x), x), 0.044715));
      return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(tf.mul(cubic, Math.sqrt(2 / Math.PI))), 1));
    }
  }
}

function softcap(x: tf.Tensor, cap: number): tf.Tensor {
  return tf.mul(tf.tanh(tf.mul(x, 1 / cap)), cap);
}
