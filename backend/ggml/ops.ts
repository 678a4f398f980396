/**
 * `Ops` as operators of ggml: a value is a matrix with one column per token. If a kernel would make a token's bits depend on the other
 * tokens of the pass, the graph is written so that they do not. Knows operators and weights, no stages and no exits.
 */
import type { Ops } from '../model/ops.ts';
import {
  variesInText,
  type Activation,
  type LayerSpec,
  type ModelSpec,
  type NormSpec,
  type RopeSpec,
} from '../model/spec.ts';
import { fewTogether, tileStep, type Processor } from './processor.ts';
import { composedAttention, madeMask } from './attention.ts';
import type { GraphSketch, Value } from './graph.ts';
import type { Tensor, TypeName } from './library.ts';
import { mixtureOf } from './mixture.ts';
import type { Matrix, Weights } from './weights.ts';

/** Keys and values of one attention: `[kvHeads · headDimensions, rows · capacity]`, a row a position. */
export interface Past {
  readonly key: Tensor;
  readonly value: Tensor;
  readonly type: 'F16' | 'F32';
  readonly capacity: number;
  /** The rows that take part in the pass, in its order; `batch` of them. */
  readonly rows: readonly number[];
  /** How many positions are looked at; those that are hidden are masked. */
  readonly keys: number;
}

export interface OpsOptions {
  /** Tokens of a row, and rows: column `row · tokens + token`. */
  readonly tokens: number;
  readonly batch: number;
  /** Activations stay in 32 bits wherever ggml can. */
  readonly exact: boolean;
  /** Of tokens that keep the bits of a large pass: see runtime/tiles.ts. */
  readonly isTiled: boolean;
  /** The cache of an attention's past; null: it attends only to the columns of this graph. */
  past(slot: string): Past | null;
}

/** What some neighbouring rows of a pass see; `at`: the place of the first in the pass. */
interface Seen {
  readonly at: number;
  readonly rows: number;
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** `GGML_ROPE_TYPE_NEOX`: a head's halves are rotated against each other. */
const halvesRotated = 2;
/** `GGML_PREC_F32`. */
const fullPrecision = 10;

/**
 * Inputs it adds when first needed: `positions` (of each column), `entries` (the place of each column among keys and values),
 * `mask` or `mask.<window>` `[keys, tokens, 1, batch]` in 16 bits; of a rotation that varies in a text, `cos.<rope>` and
 * `sin.<rope>` `[dimensions / 2, 1, columns]`.
 */
export function ggmlOps(processor: Processor, sketch: GraphSketch, weights: Weights, options: OpsOptions): Ops<Value> {
  const { library: g } = processor;
  const { context: c } = sketch;
  const { tokens, batch, exact, isTiled } = options;
  const columns = tokens * batch;
  const value = (tensor: Tensor, width: number): Value => ({ tensor, width });
  const input = (name: string, type: TypeName, ...shape: number[]): Tensor => sketch.input(name, type, ...shape);

  const product = (matrix: Matrix, x: Value): Value => {
    const { tensor, rows, few, alone } = matrix;
    if (few !== null) return value(isTiled ? inTiles(matrix, x) : byFew(matrix, few, x), rows);
    if (columns > 1 && columns <= alone) {
      const each = Array.from({ length: columns }, (_, i) => g.mulMat(c, tensor, columnOf(x, i)));
      return value(
        each.reduce((left, right) => g.concat(c, left, right, 1)),
        rows,
      );
    }
    return value(g.mulMat(c, tensor, x.tensor), rows);
  };

  /** Products of at most so few tokens each: as many as there are of one size go into one operator. */
  const byFew = ({ tensor, rows }: Matrix, few: number, { tensor: x, width, stride = width * 4 }: Value): Tensor => {
    const part = (from: number, each: number, times: number): Tensor => {
      const some = g.view4(c, x, width, each, times, 1, stride, each * stride, times * each * stride, from * stride);
      return g.reshape2(c, g.mulMat(c, tensor, some), rows, each * times);
    };
    const each = fewTogether[few]!.find((size) => columns % size === 0);
    if (each !== undefined) return part(0, each, columns / each);
    const left = columns % few;
    const last = part(columns - left, left, 1);
    return columns === left ? last : g.concat(c, part(0, few, (columns - left) / few), last, 1);
  };

  /** A product of a multiple of `tileStep` tokens, some of them beside themselves. */
  const inTiles = ({ tensor, rows }: Matrix, { tensor: x, width, stride = width * 4 }: Value): Tensor => {
    const missing = (tileStep - (columns % tileStep)) % tileStep;
    if (missing === 0) return g.mulMat(c, tensor, x);
    const more =
      columns === 1
        ? g.repeat4(c, x, width, tileStep, 1, 1)
        : g.concat(c, x, g.view2(c, x, width, missing, stride, 0), 1);
    return g.view2(c, g.mulMat(c, tensor, more), rows, columns, rows * 4, 0);
  };

  const columnOf = ({ tensor, width, stride = width * 4 }: Value, i: number): Tensor =>
    g.view2(c, tensor, width, 1, stride, i * stride);

  const biased = (y: Value, path: string): Value => {
    const bias = `${path}.bias`;
    return weights.has(bias) ? value(g.add(c, y.tensor, weights.vector(bias)), y.width) : y;
  };

  const linear = (x: Value, path: string): Value => biased(product(weights.matrix(`${path}.weight`), x), path);

  /** Threads wait for each other once for one product, and the input is rounded once. */
  const linears = (x: Value, paths: readonly string[]): Value[] => {
    const joined = weights.joined(paths.map((path) => `${path}.weight`));
    if (joined === null) return paths.map((path) => linear(x, path));
    const y = product(joined, x);
    const stride = y.width * 4;
    let first = 0;
    return paths.map((path, i) => {
      const width = joined.parts[i]!;
      const tensor = g.view2(c, y.tensor, width, columns, stride, first * 4);
      first += width;
      return biased({ tensor, width, stride }, path);
    });
  };

  const dense = ({ tensor, stride }: Value): Tensor => (stride === undefined ? tensor : g.cont(c, tensor));

  /** The heads of every column `[headDimensions, heads, …shape]`. */
  const byHead = (x: Value, heads: number, ...[n, m = 1]: [number, number?]): Tensor => {
    const { tensor, width, stride = width * 4 } = x;
    return g.view4(c, tensor, width / heads, heads, n, m, (width / heads) * 4, stride, n * stride, 0);
  };

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

  const scale = (x: Value, factor: number): Value =>
    factor === 0 ? { ...x, isZero: true } : value(g.scale(c, dense(x), factor), x.width);

  const masks = new Map<string, Tensor>();
  const mask = (window: number | null, keys: number): Tensor => {
    const name = window === null ? 'mask' : `mask.${window}`;
    if (!processor.isGpu) return input(name, 'F16', keys, tokens, 1, batch);
    const known = masks.get(name);
    if (known !== undefined) return known;
    const made = madeMask(
      g,
      c,
      { tokens, batch, keys },
      {
        positions: input('positions', 'I32', columns),
        places: weights.constant(`places ${keys}`, () => Float32Array.from({ length: keys }, (_, i) => i)),
        least: window === null ? null : weights.constant(`least ${window}`, () => Float32Array.of(1 - window)),
      },
    );
    masks.set(name, made);
    return made;
  };

  /** Keys and values that the queries of each run of rows see: `[headDimensions, keys, kvHeads, rows]` each. */
  const seen = (k: Value, v: Value, { kvHeads, headDimensions: d }: ModelSpec, past: Past | null): Seen[] => {
    if (past === null) {
      const split = (x: Value): Tensor => g.permute(c, byHead(x, kvHeads, tokens, batch), 0, 2, 1, 3);
      return [{ at: 0, rows: batch, keys: split(k), values: split(v) }];
    }
    const places = input('entries', 'I64', columns);
    const element = past.type === 'F16' ? 2 : 4;
    const position = kvHeads * d * element;
    sketch.effect(g.setRows(c, past.key, k.tensor, places));
    sketch.effect(g.setRows(c, past.value, v.tensor, places));
    return runsOf(past.rows).map(({ at, first, rows }) => {
      const row = past.capacity * position;
      const view = (where: Tensor): Tensor =>
        g.view4(c, where, d, past.keys, kvHeads, rows, position, d * element, row, first * row);
      return { at, rows, keys: view(past.key), values: view(past.value) };
    });
  };

  const ops: Ops<Value> = {
    linear,
    linears,
    norm,
    addNorm(x, delta, path, spec) {
      const sum = add(x, delta);
      return { sum, normed: norm(sum, path, spec) };
    },
    headNorm(x, path, heads, spec, gains) {
      const whole = (y: Tensor): Tensor => g.reshape2(c, y, x.width, columns);
      const normed = normalised(byHead(x, heads, columns), spec);
      return value(gains === 'each' ? gained(whole(normed), path, spec) : whole(gained(normed, path, spec)), x.width);
    },
    rotary(x, heads, headDimensions, rope) {
      if (variesInText(rope))
        return value(g.reshape2(c, rotaryFromInput(x, heads, headDimensions, rope), x.width, columns), x.width);
      const positions = input('positions', 'I32', columns);
      // Powers of a base as llama.cpp turns by them, to the bit; else, with base 1, an angle is the position ÷ a factor.
      const base = baseOf(rope);
      const periods = base === null ? weights.constant(`rope ${rope.name}`, () => periodsOf(rope)) : null;
      const turned = g.rope(
        c,
        byHead(x, heads, columns),
        positions,
        periods,
        rope.dimensions,
        halvesRotated,
        0,
        base ?? 1,
        1,
        0,
        rope.scale,
        32,
        1,
      );
      return value(g.reshape2(c, turned, x.width, columns), x.width);
    },
    attention(q, k, v, spec: ModelSpec, layer: LayerSpec, slot, sinks) {
      const { heads, headDimensions: d, attentionScale, attentionSoftcap } = spec;
      const past = options.past(slot);
      const count = past?.keys ?? tokens;
      const visible = mask(layer.window, count);
      /** `[headDimensions, heads, tokens, rows]` of some rows of the pass. */
      const attended = ({ at, rows, keys, values }: Seen): Tensor => {
        const { tensor, stride = q.width * 4 } = q;
        const [head, offset] = [d * 4, at * tokens * stride];
        const split = g.view4(c, tensor, d, heads, tokens, rows, head, stride, tokens * stride, offset);
        const queries = g.permute(c, split, 0, 2, 1, 3);
        const [line, page] = [count * 2, count * tokens * 2];
        const shown =
          rows === batch ? visible : g.view4(c, visible, count, tokens, 1, rows, line, page, page, at * page);
        const y = g.flashAttention(c, queries, keys, values, shown, attentionScale, 0, attentionSoftcap ?? 0);
        g.setFlashPrecision(y, fullPrecision);
        if (sinks) g.addSinks(y, weights.vector(`${sinks}.weight`));
        if (!processor.isGpu || sinks || processor.supports(y)) return y;
        const given = { queries, keys, values, mask: shown, scale: attentionScale, softcap: attentionSoftcap ?? 0 };
        return composedAttention(g, c, given);
      };
      const y = seen(k, v, spec, past)
        .map(attended)
        .reduce((before, next) => g.concat(c, before, next, 3));
      return value(g.reshape2(c, y, heads * d, columns), heads * d);
    },
    activation(x, kind: Activation) {
      switch (kind) {
        case 'silu':
          return { ...value(g.silu(c, x.tensor), x.width), siluOf: x.tensor };
        case 'gelu':
          return value(g.geluErf(c, x.tensor), x.width);
        case 'gelu_tanh':
          return exact ? geluTanh(x) : value(g.gelu(c, x.tensor), x.width);
      }
    },
    mixture: (x, path, mixture, kind) =>
      mixtureOf(processor, sketch, weights, ops, { x, path, mixture, kind, columns }),
    add,
    mul: (a, b) =>
      value(a.siluOf === undefined ? g.mul(c, a.tensor, b.tensor) : g.swigluSplit(c, a.siluOf, b.tensor), a.width),
    scale,
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

  /** Rotates the halves of every head by angles that are an input of the pass: `[headDimensions, heads, columns]`. */
  function rotaryFromInput(x: Value, heads: number, headDimensions: number, { name, dimensions }: RopeSpec): Tensor {
    const half = dimensions / 2;
    const [cos, sin] = [input(`cos.${name}`, 'F32', half, 1, columns), input(`sin.${name}`, 'F32', half, 1, columns)];
    const row = headDimensions * 4;
    const { tensor, stride = heads * row } = x;
    const part = (from: number, width: number): Tensor =>
      g.view4(c, tensor, width, heads, columns, 1, row, stride, columns * stride, from * 4);
    const [a, b] = [part(0, half), part(half, half)];
    const turned = g.concat(
      c,
      g.sub(c, g.mul(c, a, cos), g.mul(c, b, sin)),
      g.add(c, g.mul(c, b, cos), g.mul(c, a, sin)),
      0,
    );
    const rest = headDimensions - dimensions;
    return rest === 0 ? turned : g.concat(c, turned, part(dimensions, rest), 0);
  }

  /** ggml's own goes through a table of 16 bits: x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))). */
  function geluTanh(input: Value): Value {
    const x = dense(input);
    const cubed = g.mul(c, g.sqr(c, x), x);
    const inner = g.scale(c, g.add(c, x, g.scale(c, cubed, 0.044715)), Math.sqrt(2 / Math.PI));
    const half = g.scale(c, x, 0.5);
    return value(g.add(c, half, g.mul(c, half, g.tanh(c, inner))), input.width);
  }
}

/** Operators of an attention at most for each run of rows. */
export const runNodes = 24;

/** Rows in runs of neighbours, to which one operator can attend: the place of a run in the pass, its first row, its length. */
export function runsOf(
  rows: readonly number[],
): { readonly at: number; readonly first: number; readonly rows: number }[] {
  const starts = rows.flatMap((row, at) => (at > 0 && rows[at - 1] === row - 1 ? [] : [at]));
  return starts.map((at, i) => ({ at, first: rows[at]!, rows: (starts[i + 1] ?? rows.length) - at }));
}

const periodsOf = ({ inverseFrequencies }: RopeSpec): Float32Array =>
  Float32Array.from(inverseFrequencies, (frequency) => 1 / frequency);

/** The base whose powers, base^(−2j ÷ dimensions), the frequencies are; null if they are scaled otherwise. */
export function baseOf({ dimensions, inverseFrequencies }: RopeSpec): number | null {
  const second = inverseFrequencies[1];
  if (second === undefined) return null;
  const base = Math.round(second ** (-dimensions / 2));
  const isPower = (frequency: number, j: number): boolean =>
    Math.abs(frequency * base ** ((2 * j) / dimensions) - 1) < 1e-6;
  return inverseFrequencies.every(isPower) ? base : null;
}
