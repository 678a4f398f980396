/**
 * `Ops` as ONNX nodes: a value is the name of a tensor `[batch, tokens, width]` in a graph. Linears of one input become
 * one node and a split; a norm takes the open addition before it along; a block-quantised weight runs in its own blocks.
 * Knows operators and weights, no stages and no exits.
 */
import { roundStacked, type Weight, type WeightBlocks } from '../formats/quantisation.ts';
import type { Ops } from '../model/ops.ts';
import type { BlockForm, Parameters } from '../model/parameters.ts';
import type { Activation, LayerSpec, ModelSpec, NormSpec } from '../model/spec.ts';
import type { OnnxAttribute, OnnxType } from '../formats/onnx.ts';
import type { GraphBuilder } from './builder.ts';
import { operatorsOf, type Provider } from './operators.ts';
import { screenedLinear } from './screened.ts';

export interface GraphOptions {
  /**
   * `float32`: activations stay as they are. `int8`: products with quantised weights round activations to 8 bits a
   * block, as llama.cpp does; about twice as fast. `int8-rows`: every product rounds activations to 8 bits a token and
   * weights to 7 bits a row, the fastest for many tokens (the CPU only; elsewhere as `float32`).
   */
  readonly arithmetic: 'float32' | 'int8' | 'int8-rows';
  /** Whether attention sees keys and values from before this pass, fed as `key.<slot>` and `value.<slot>` with room for the new. */
  readonly past: boolean;
  /** Query heads folded into the token axis (grouped-queries.ts); default 1. Only with a past. */
  readonly queryGroup?: number;
  /**
   * Into how many blocks the queries of a whole sequence go, each of which sees the keys up to its own end; default 1. Sequences
   * then have at least as many tokens. Only without a past.
   */
  readonly queryBlocks?: number;
  /** A linear of which only the largest outputs matter (screened.ts): where `canScreen`, with `int8` arithmetic. */
  readonly screened?: string;
  /** What will run the graph; default `cpu`. */
  readonly provider?: Provider;
}

/** `Ops` over a graph; `slots` collects the attentions met, in order. */
export type GraphOps = Ops<string> & { readonly slots: readonly string[] };

const contrib = 'com.microsoft';

/** Queries `from` to `to`, and the mask of the keys before `to` `[batch, 1, queries, keys]`. */
interface QueryBlock {
  readonly from: string;
  readonly to: string;
  readonly mask: string;
}

/** Of a token that is all zeros, so that it stays so. */
const smallestPeak = 1e-30;

/**
 * Inputs it adds when first needed: `cos.<rope>`, `sin.<rope>` `[batch, tokens, dimensions / 2]`; `mask` or
 * `mask.<window>` `[batch, 1, tokens · queryGroup, keys]` (0 or −∞ like); with a past also `key.<slot>`, `value.<slot>`
 * `[batch, keys, kvHeads · d]` and `places` `[batch, tokens, 2]`, the row and the position of each new token among them. Outputs:
 * `newKey.<slot>`, `newValue.<slot>` when there is a past.
 */
export function graphOps(builder: GraphBuilder, parameters: Parameters, options: GraphOptions): GraphOps {
  const slots: string[] = [];
  const known = new Set<string>();
  const blockSums = new Map<string, string>();
  const roundedTokens = new Map<string, { bytes: string; peaks: string }>();
  const operators = operatorsOf[options.provider ?? 'cpu'];
  const queryBlockCount = options.queryBlocks ?? 1;
  let queryBlocks: QueryBlock[] | null = null;

  const inputOnce = (name: string, shape: readonly (number | string)[], type: OnnxType = 'float32'): string => {
    if (!known.has(name)) builder.input(name, type, shape);
    known.add(name);
    return name;
  };
  const vector = (name: string, offset = 0): string => {
    if (known.has(name)) return name;
    known.add(name);
    const data = parameters.values(name);
    return builder.initialiser(name, offset ? data.map((v) => v + offset) : data, [data.length]);
  };

  /** x · Wᵀ + b for several matrices stacked by rows. */
  const product = (x: string, paths: readonly string[]): string => {
    const names = paths.map((path) => `${path}.weight`);
    const columns = parameters.shape(names[0]!)[1]!;
    const rows = names.reduce((sum, name) => sum + parameters.shape(name)[0]!, 0);
    const key = names.join('+');
    const form = storedAs(parameters.blockForm(names[0]!), options);
    const y =
      form === 'rows'
        ? roundedProduct(x, key, names.map(weightOf), rows, columns)
        : form === 'float32'
          ? plainProduct(x, key, names, rows, columns)
          : blockProduct(x, key, stack(names.map((name) => parameters.blocks(name))), rows, columns);
    if (!paths.some((path) => parameters.has(`${path}.bias`))) return y;
    const bias = new Float32Array(rows);
    let start = 0;
    for (const path of paths) {
      if (parameters.has(`${path}.bias`)) bias.set(parameters.values(`${path}.bias`), start);
      start += parameters.shape(`${path}.weight`)[0]!;
    }
    return builder.node('Add', [y, builder.initialiser(`${key}.bias`, bias, [rows])]);
  };

  /** A weight as it is stored; blocks that rounding made would be rounded twice. */
  const weightOf = (name: string): Weight => {
    const form = parameters.blockForm(name);
    return form && !form.rounds ? parameters.blocks(name) : parameters.values(name);
  };

  const values = (names: readonly string[]): Float32Array => {
    const parts = names.map((name) => parameters.values(name));
    return parts.length === 1 ? parts[0]! : joined(parts);
  };

  const plainProduct = (x: string, key: string, names: readonly string[], rows: number, columns: number): string => {
    if (!known.has(key)) {
      known.add(key);
      builder.initialiser(key, values(names), [rows, columns]);
    }
    return timesTransposed(x, key);
  };

  /** A token is divided by its largest value and rounded; the product of bytes is exact, and scaled back by token and row. */
  const roundedProduct = (
    x: string,
    key: string,
    weights: readonly Weight[],
    rows: number,
    columns: number,
  ): string => {
    const step = builder.scalar(1 / 127);
    const middle = bytes('middle', new Uint8Array([128]));
    let tokens = roundedTokens.get(x);
    if (!tokens) {
      const peaks = builder.node('Max', [
        builder.node('ReduceMax', [builder.node('Abs', [x]), builder.ints([-1])], { keepdims: 1 }),
        builder.scalar(smallestPeak),
      ]);
      tokens = { bytes: builder.node('QuantizeLinear', [builder.node('Div', [x, peaks]), step, middle]), peaks };
      roundedTokens.set(x, tokens);
    }
    const { quants, scales } = roundStacked(weights, rows, columns);
    const q = builder.initialiser(`${key}.rounded`, quants, [columns, rows]);
    const d = builder.initialiser(`${key}.scales`, scales, [rows]);
    const y = builder.node('MatMulIntegerToFloat', [tokens.bytes, q, step, d, middle], {}, contrib);
    return builder.node('Mul', [y, tokens.peaks]);
  };

  const bytes = (name: string, data: Uint8Array): string => {
    if (known.has(name)) return name;
    known.add(name);
    return builder.initialiser(name, data, []);
  };

  const timesTransposed = (x: string, w: string): string =>
    operators.product === 'FusedMatMul'
      ? builder.node('FusedMatMul', [x, w], { transA: 0, transB: 1, alpha: { float: 1 } }, contrib)
      : builder.node('MatMul', [x, builder.node('Transpose', [w], { perm: [1, 0] })]);

  /** MatMulNBits computes d·(q − centre); a minimum m per block adds (m + centre·d) times the sum of x in the block. */
  const blockProduct = (x: string, key: string, blocks: WeightBlocks, rows: number, columns: number): string => {
    const { bits, blockSize, quants, scales, minima } = blocks;
    const perRow = columns / blockSize;
    const q = builder.initialiser(`${key}.quants`, quants, [rows, perRow, (blockSize * bits) / 8]);
    const d = builder.initialiser(`${key}.scales`, scales, [rows * perRow]);
    const level = options.arithmetic === 'int8' ? 4 : 0;
    const attributes = { K: columns, N: rows, bits, block_size: blockSize, accuracy_level: level };
    const y = builder.node('MatMulNBits', [x, q, d], attributes, contrib); // centred on 8 or 128
    if (!minima) return y;
    const centre = bits === 4 ? 8 : 128;
    const offsets = minima.map((m, i) => m + centre * scales[i]!);
    const sumsKey = `${x}/${blockSize}`;
    let sums = blockSums.get(sumsKey);
    if (sums === undefined) {
      const split = builder.node('Reshape', [x, builder.ints([0, 0, perRow, blockSize])]);
      sums = builder.node('ReduceSum', [split, builder.ints([-1])], { keepdims: 0 });
      blockSums.set(sumsKey, sums);
    }
    const m = builder.initialiser(`${key}.offsets`, offsets, [rows, perRow]);
    return builder.node('Add', [y, timesTransposed(sums, m)]);
  };

  const normWeights = (path: string, norm: NormSpec): string[] =>
    norm.kind === 'rms'
      ? [vector(`${path}.weight`, norm.unitOffset)]
      : [vector(`${path}.weight`), ...(parameters.has(`${path}.bias`) ? [vector(`${path}.bias`)] : [])];

  const normed = (x: string, weights: readonly string[], norm: NormSpec): string =>
    builder.node(norm.kind === 'rms' ? 'SimplifiedLayerNormalization' : 'LayerNormalization', [x, ...weights], {
      axis: -1,
      epsilon: { float: norm.epsilon },
      stash_type: 1,
    });

  /** Heads `[batch, tokens, heads, d]` with a gain for each: a norm whose gain is one, and the gains behind it. */
  const normedByHead = (x: string, path: string, heads: number, norm: NormSpec): string => {
    const gains = parameters.values(`${path}.weight`).map((gain) => gain + norm.unitOffset);
    const width = gains.length / heads;
    const ones = `ones.${width}`;
    if (!known.has(ones)) builder.initialiser(ones, new Float32Array(width).fill(1), [width]);
    known.add(ones);
    return builder.node('Mul', [normed(x, [ones], norm), builder.initialiser(`${path}.gains`, gains, [heads, width])]);
  };

  const mask = (window: number | null): string =>
    inputOnce(window === null ? 'mask' : `mask.${window}`, ['batch', 1, 'queries', 'keys']);

  /**
   * Whole sequences, in blocks of queries: `Attention` alone multiplies every query with every key and masks half of it
   * afterwards.
   */
  const causalAttention = (
    q: string,
    k: string,
    v: string,
    { heads, kvHeads, headDimensions }: ModelSpec,
    attributes: Readonly<Record<string, OnnxAttribute>>,
  ): string => {
    // ONNX infers no width behind a slice that is computed, and a wrong one for what follows.
    const part = (x: string, from: string, to: string, width: number): string =>
      builder.node('Reshape', [slice(x, from, to, 1), builder.ints([0, -1, width])]);
    const parts = (queryBlocks ??= blocksOf(q)).map(({ from, to, mask: visible }) => {
      const upTo = (x: string): string => part(x, zero(), to, kvHeads * headDimensions);
      const queries = part(q, from, to, heads * headDimensions);
      return builder.node('Attention', [queries, upTo(k), upTo(v), visible], attributes);
    });
    return builder.node('Concat', parts, { axis: 1 });
  };

  /** Equal parts of the tokens of `x`, with what their queries see. */
  const blocksOf = (x: string): QueryBlock[] => {
    const tokens = builder.node('Shape', [x], { start: 1, end: 2 });
    const all = mask(null);
    const bounds = Array.from({ length: queryBlockCount + 1 }, (_, i) =>
      builder.node('Div', [builder.node('Mul', [tokens, builder.ints([i])]), builder.ints([queryBlockCount])]),
    );
    return bounds.slice(1).map((to, i) => {
      const from = bounds[i]!;
      return { from, to, mask: slice(slice(all, from, to, 2), zero(), to, 3) };
    });
  };

  const zero = (): string => builder.ints([0]);
  const slice = (x: string, from: string, to: string, axis: number): string =>
    builder.node('Slice', [x, from, to, builder.ints([axis])]);

  /**
   * The new rows of a slot, which also leave the graph, in their places among those of the past. Each sequence's rows stand
   * together, so that a sequence has the same sums in every batch: zeros behind a sum change nothing, between its parts they do.
   */
  const withPast = (k: string, v: string, spec: ModelSpec, slot: string): [string, string] => {
    const width = spec.kvHeads * spec.headDimensions;
    const places = inputOnce('places', ['batch', 'tokens', 2], 'int64');
    const place = (fresh: string, past: string, output: string): string => {
      builder.output(fresh, output, 'float32', ['batch', 'tokens', width]);
      return builder.node('ScatterND', [inputOnce(past, ['batch', 'keys', width]), places, fresh]);
    };
    return [place(k, `key.${slot}`, `newKey.${slot}`), place(v, `value.${slot}`, `newValue.${slot}`)];
  };

  /** Repeats every key or value head for the heads of its group: `[batch, keys, heads · d]`. */
  const forEveryHead = (x: string, spec: ModelSpec): string => {
    if (spec.kvHeads === spec.heads) return x;
    const group = spec.heads / spec.kvHeads;
    const split = builder.node('Reshape', [x, builder.ints([0, 0, spec.kvHeads, 1, spec.headDimensions])]);
    const repeated = builder.node('Expand', [split, builder.ints([1, 1, 1, group, 1])]);
    return builder.node('Reshape', [repeated, builder.ints([0, 0, spec.heads * spec.headDimensions])]);
  };

  /** Attention in single nodes, with a soft cap on its scores where the model has one. */
  const composedAttention = (q: string, k: string, v: string, spec: ModelSpec, { window }: LayerSpec): string => {
    const { heads, headDimensions, attentionScale, attentionSoftcap: cap } = spec;
    const byHead = (x: string, perm: readonly number[]): string =>
      builder.node('Transpose', [builder.node('Reshape', [x, builder.ints([0, 0, heads, headDimensions])])], { perm });
    const times = (x: string, factor: number): string => builder.node('Mul', [x, builder.scalar(factor)]);
    const products = builder.node('MatMul', [byHead(q, [0, 2, 1, 3]), byHead(forEveryHead(k, spec), [0, 2, 3, 1])]);
    const scores =
      cap === null
        ? times(products, attentionScale)
        : times(builder.node('Tanh', [times(products, attentionScale / cap)]), cap);
    const shares = builder.node('Softmax', [builder.node('Add', [scores, mask(window)])], { axis: -1 });
    const mixed = builder.node('MatMul', [shares, byHead(forEveryHead(v, spec), [0, 2, 1, 3])]);
    const byToken = builder.node('Transpose', [mixed], { perm: [0, 2, 1, 3] });
    return builder.node('Reshape', [byToken, builder.ints([0, 0, heads * headDimensions])]);
  };

  return {
    slots,
    linear: (x, path) =>
      path === options.screened ? screenedLinear(builder, parameters, blockProduct, x, path) : product(x, [path]),
    linears(x, paths) {
      // Stacking needs one kind of storage; a file that mixes types runs them one by one.
      const kinds = new Set(paths.map((path) => storedAs(parameters.blockForm(`${path}.weight`), options)));
      if (kinds.size > 1) return paths.map((path) => product(x, [path]));
      const sizes = paths.map((path) => parameters.shape(`${path}.weight`)[0]!);
      return builder.nodeOf('Split', [product(x, paths), builder.ints(sizes)], paths.length, { axis: -1 });
    },
    norm: (x, path, norm) => normed(x, normWeights(path, norm), norm),
    addNorm(x, delta, path, norm) {
      const operator = norm.kind === 'rms' ? 'SkipSimplifiedLayerNormalization' : 'SkipLayerNormalization';
      const [normed] = builder.nodeOf(
        operator,
        [x, delta, ...normWeights(path, norm)],
        [`${path}:normed`, '', '', `${path}:sum`],
        { epsilon: { float: norm.epsilon } },
        contrib,
      );
      return { normed: normed!, sum: `${path}:sum` };
    },
    headNorm(x, path, heads, norm, gains) {
      const split = builder.node('Reshape', [x, builder.ints([0, 0, heads, -1])]);
      return builder.node('Reshape', [
        gains === 'shared' ? normed(split, normWeights(path, norm), norm) : normedByHead(split, path, heads, norm),
        builder.ints([0, 0, -1]),
      ]);
    },
    rotary(x, heads, headDimensions, rope) {
      const half = rope.dimensions / 2;
      const cos = inputOnce(`cos.${rope.name}`, ['batch', 'tokens', half]);
      const sin = inputOnce(`sin.${rope.name}`, ['batch', 'tokens', half]);
      const partial = rope.dimensions < headDimensions ? { rotary_embedding_dim: rope.dimensions } : {};
      return builder.node('RotaryEmbedding', [x, cos, sin], { num_heads: heads, ...partial });
    },
    attention(q, k, v, spec, layer, slot, sinks) {
      if (sinks) throw new Error('attention with sinks is computed in ggml alone');
      slots.push(slot);
      const [keys, values] = options.past ? withPast(k, v, spec, slot) : [k, v];
      if (operators.attention === 'Attention') {
        const { queryGroup = 1 } = options;
        const attributes = {
          q_num_heads: spec.heads / queryGroup,
          kv_num_heads: spec.kvHeads,
          scale: { float: spec.attentionScale },
          ...(spec.attentionSoftcap === null ? {} : { softcap: { float: spec.attentionSoftcap } }),
        };
        if (!options.past && layer.window === null)
          return queryBlockCount === 1
            ? builder.node('Attention', [q, k, v], { ...attributes, is_causal: 1 })
            : causalAttention(q, k, v, spec, attributes);
        const queries =
          queryGroup === 1
            ? q
            : builder.node('Reshape', [q, builder.ints([0, -1, spec.kvHeads * spec.headDimensions])]);
        const y = builder.node('Attention', [queries, keys, values, mask(layer.window)], attributes);
        return queryGroup === 1
          ? y
          : builder.node('Reshape', [y, builder.ints([0, -1, spec.heads * spec.headDimensions])]);
      }
      // MultiHeadAttention has neither a soft cap nor, on every provider, a causal mask of its own.
      if (operators.attention === 'composed' || spec.attentionSoftcap !== null)
        return composedAttention(q, keys, values, spec, layer);
      return builder.node(
        'MultiHeadAttention',
        [q, forEveryHead(keys, spec), forEveryHead(values, spec), '', '', mask(layer.window)],
        { num_heads: spec.heads, scale: { float: spec.attentionScale } },
        contrib,
      );
    },
    activation: (x, kind) => activationNode(builder, x, kind),
    add: (a, b) => builder.node('Add', [a, b]),
    mul: (a, b) => builder.node('Mul', [a, b]),
    scale: (x, factor) => builder.node('Mul', [x, builder.scalar(factor)]),
    softcap: (x, cap) =>
      builder.node('Mul', [
        builder.node('Tanh', [builder.node('Mul', [x, builder.scalar(1 / cap)])]),
        builder.scalar(cap),
      ]),
    halves: (x) => builder.nodeOf('Split', [x], 2, { axis: -1, num_outputs: 2 }) as [string, string],
    concat: (a, b) => builder.node('Concat', [a, b], { axis: -1 }),
  };
}

function activationNode(builder: GraphBuilder, x: string, kind: Activation): string {
  switch (kind) {
    case 'silu':
      // x · sigmoid(αx); α = 1 exactly is not fused as such by every version.
      return builder.node('QuickGelu', [x], { alpha: { float: 1 } }, contrib);
    case 'gelu':
      return builder.node('Gelu', [x]);
    case 'gelu_tanh':
      return builder.node('Gelu', [x], { approximate: 'tanh' });
  }
}

/** Blocks that the provider cannot run are expanded to float32. */
function runsInBlocks(form: BlockForm, { arithmetic, provider = 'cpu' }: GraphOptions): boolean {
  const { exactBlocks, roundedBlocks } = operatorsOf[provider];
  return arithmetic === 'int8' ? roundedBlocks.includes(form.bits) : !form.rounds && exactBlocks.includes(form.bits);
}

/** What a graph holds a weight as: `rows`, `float32`, or the form of its blocks. */
function storedAs(form: BlockForm | null, options: GraphOptions): string {
  if (options.arithmetic === 'int8-rows' && operatorsOf[options.provider ?? 'cpu'].roundedRows) return 'rows';
  return form && runsInBlocks(form, options) ? `${form.bits}/${form.blockSize}/${form.zeroPoint}` : 'float32';
}

function stack(parts: readonly WeightBlocks[]): WeightBlocks {
  if (parts.length === 1) return parts[0]!;
  const { bits, blockSize, zeroPoint } = parts[0]!;
  const minima = parts.map((p) => p.minima);
  return {
    bits,
    blockSize,
    zeroPoint,
    quants: joined(parts.map((p) => p.quants)),
    scales: joined(parts.map((p) => p.scales)),
    minima: minima.every((m) => m !== null) ? joined(minima) : null,
  };
}

function joined<T extends Float32Array | Uint8Array>(arrays: readonly T[]): T {
  const all = new (arrays[0]!.constructor as new (length: number) => T)(arrays.reduce((sum, a) => sum + a.length, 0));
  let start = 0;
  for (const array of arrays) {
    all.set(array, start);
    start += array.length;
  }
  return all;
}
