/**
 * One decoder layer for every family, over `Ops`. It knows no exits, no weights and no runtime.
 *
 * Parameter paths are Hugging Face's Llama names without `model.`: `layers.<i from 0>.self_attn.q_proj`,
 * `….mlp.gate_proj`, `….input_layernorm`, `….post_attention_layernorm`, `….pre_feedforward_layernorm`,
 * `….post_feedforward_layernorm`, `norm`, `lm_head`, `embed_tokens`. A plain MLP has `up_proj` and `down_proj` only; a mixture
 * has what `Ops.mixture` says.
 */
import type { Ops } from './ops.ts';
import type { Cut, LayerSpec, MixtureSpec, ModelSpec, NormSpec, RopeSpec } from './spec.ts';

/** A residual stream `x + delta` whose last addition is left open, so that the next norm can be fused with it. */
export interface Stream<T> {
  readonly x: T;
  readonly delta: T | null;
}

export const layerPath = (layer: number): string => `layers.${layer - 1}`;

export const settle = <T>(ops: Ops<T>, stream: Stream<T>): T =>
  stream.delta === null ? stream.x : ops.add(stream.x, stream.delta);

function normed<T>(ops: Ops<T>, stream: Stream<T>, path: string, norm: NormSpec): { sum: T; normed: T } {
  return stream.delta === null
    ? { sum: stream.x, normed: ops.norm(stream.x, path, norm) }
    : ops.addNorm(stream.x, stream.delta, path, norm);
}

const attentionInputs = ['q_proj', 'k_proj', 'v_proj'] as const;
const gatedInputs = ['gate_proj', 'up_proj'] as const;
/** Linears that read the same: the ends of the paths that `Ops.linears` is given here. */
export const linearsTogether: readonly (readonly string[])[] = [attentionInputs, gatedInputs];

const paths = (path: string, ends: readonly string[]): string[] => ends.map((end) => `${path}.${end}`);

/** Self-attention of normed input x; `slot` names its key/value cache. */
export function attention<T>(ops: Ops<T>, spec: ModelSpec, layer: LayerSpec, x: T, path: string, slot: string): T {
  const [q, k, v] = ops.linears(x, paths(path, attentionInputs)) as [T, T, T];
  ops.entries?.(slot, k, v);
  const queries = placed(ops, spec, q, spec.heads, `${path}.q_norm`, layer.queryRope ?? layer.rope);
  const keys = placedKeys(ops, spec, layer, k, path);
  const sinks = spec.attentionSinks ? `${path}.sinks` : null;
  return ops.linear(ops.attention(queries, keys, v, spec, layer, slot, sinks), `${path}.o_proj`);
}

/** From keys as an attention under `path` projects them to keys as its cache stores them. */
export const placedKeys = <T>(ops: Ops<T>, spec: ModelSpec, layer: LayerSpec, k: T, path: string): T =>
  placed(ops, spec, k, spec.kvHeads, `${path}.k_norm`, layer.rope);

/** Queries or keys, normed if the family norms them, and rotated. */
function placed<T>(ops: Ops<T>, spec: ModelSpec, x: T, heads: number, normPath: string, rope: RopeSpec | null): T {
  const { headDimensions, qkNorm, norm } = spec;
  let y = x;
  if (qkNorm === 'head' || qkNorm === 'heads')
    y = ops.headNorm(y, normPath, heads, norm, qkNorm === 'head' ? 'shared' : 'each');
  else if (qkNorm === 'all') y = ops.norm(y, normPath, norm);
  return rope ? ops.rotary(y, heads, headDimensions, rope) : y;
}

/** Feed-forward block of normed input x: a dense MLP, or the mixture of experts that is given. */
export function mlp<T>(ops: Ops<T>, spec: ModelSpec, x: T, path: string, mixture?: MixtureSpec): T {
  if (mixture) {
    if (!ops.mixture) throw new Error(`nothing computes the mixture of experts ${path} here`);
    return ops.mixture(x, path, mixture, spec.activation);
  }
  if (spec.mlp === 'plain') {
    return ops.linear(ops.activation(ops.linear(x, `${path}.up_proj`), spec.activation), `${path}.down_proj`);
  }
  const [gate, up] = ops.linears(x, paths(path, gatedInputs)) as [T, T];
  return ops.linear(ops.mul(ops.activation(gate, spec.activation), up), `${path}.down_proj`);
}

/** What a branch adds to the stream. */
const branch = <T>(ops: Ops<T>, spec: ModelSpec, y: T): T =>
  spec.residualScale === 1 ? y : ops.scale(y, spec.residualScale);

/** First half of a layer: the stream at its input → the stream at its `attention` cut. */
function attentionHalf<T>(
  ops: Ops<T>,
  spec: ModelSpec,
  layer: LayerSpec,
  stream: Stream<T>,
  path: string,
  slot: string,
): Stream<T> {
  if (spec.normPlacement === 'post') {
    const x = settle(ops, stream);
    const y = attention(ops, spec, layer, x, `${path}.self_attn`, slot);
    return { x, delta: ops.norm(y, `${path}.post_attention_layernorm`, spec.norm) };
  }
  const { sum, normed: x } = normed(ops, stream, `${path}.input_layernorm`, spec.norm);
  const y = attention(ops, spec, layer, x, `${path}.self_attn`, slot);
  const delta = spec.normPlacement === 'sandwich' ? ops.norm(y, `${path}.post_attention_layernorm`, spec.norm) : y;
  return { x: sum, delta: branch(ops, spec, delta) };
}

/**
 * Second half of a layer: the stream at its `attention` cut → the stream at its end. `own` is the layer's own block, or the dense
 * MLP that an `mlp` exit puts in parallel to it, sharing every norm. `input` is the layer's input in a parallel-residual model.
 */
export function mlpHalf<T>(
  ops: Ops<T>,
  spec: ModelSpec,
  stream: Stream<T>,
  input: T | null,
  path: string,
  own: { readonly path: string; readonly mixture?: MixtureSpec },
): Stream<T> {
  const block = (x: T): T => mlp(ops, spec, x, own.path, own.mixture);
  if (input !== null) {
    const y = block(ops.norm(input, `${path}.post_attention_layernorm`, spec.norm));
    return { x: settle(ops, stream), delta: branch(ops, spec, y) };
  }
  if (spec.normPlacement === 'post') {
    const x = settle(ops, stream);
    return { x, delta: ops.norm(block(x), `${path}.post_feedforward_layernorm`, spec.norm) };
  }
  const sandwich = spec.normPlacement === 'sandwich';
  const before = sandwich ? `${path}.pre_feedforward_layernorm` : `${path}.post_attention_layernorm`;
  const { sum, normed: x } = normed(ops, stream, before, spec.norm);
  const y = block(x);
  const delta = sandwich ? ops.norm(y, `${path}.post_feedforward_layernorm`, spec.norm) : y;
  return { x: sum, delta: branch(ops, spec, delta) };
}

/** A whole decoder layer with its parameters under `path` and its cache in `slot`. */
export function decoderLayer<T>(
  ops: Ops<T>,
  spec: ModelSpec,
  layer: LayerSpec,
  stream: Stream<T>,
  path: string,
  slot: string,
): Stream<T> {
  const input = spec.parallelResidual ? settle(ops, stream) : null;
  const half = attentionHalf(ops, spec, layer, input === null ? stream : { x: input, delta: null }, path, slot);
  return mlpHalf(ops, spec, half, input, path, ownBlock(layer, path));
}

const ownBlock = ({ mixture }: LayerSpec, path: string): Parameters<typeof mlpHalf>[5] => ({
  path: `${path}.mlp`,
  ...(mixture && { mixture }),
});

/** Opens the value that a stage hands over at a cut (see `cutWidth`). */
export function openCut<T>(ops: Ops<T>, spec: ModelSpec, cut: Cut, value: T): { stream: Stream<T>; input: T | null } {
  if (cut.at === 'attention' && spec.parallelResidual) {
    const [x, input] = ops.halves(value);
    return { stream: { x, delta: null }, input };
  }
  return { stream: { x: value, delta: null }, input: null };
}

/** The layers between two cuts: the value at `from` → the value at `to`. Layer i's cache slot is its path. */
export function stage<T>(ops: Ops<T>, spec: ModelSpec, from: Cut, to: Cut, value: T): T {
  let { stream, input } = openCut(ops, spec, from, value);
  // A norm fused with an addition sums in another order than one alone. Adding nothing here gives the uncut model's bits.
  if (from.layer > 0) stream = { x: stream.x, delta: ops.scale(stream.x, 0) };
  if (from.at === 'attention') {
    const path = layerPath(from.layer);
    stream = mlpHalf(ops, spec, stream, input, path, ownBlock(spec.layers[from.layer - 1]!, path));
  }
  for (let i = from.layer + 1; i <= to.layer; i++) {
    const path = layerPath(i);
    const layer = spec.layers[i - 1]!;
    if (i === to.layer && to.at === 'attention') {
      if (spec.parallelResidual) {
        input = settle(ops, stream);
        return ops.concat(settle(ops, attentionHalf(ops, spec, layer, { x: input, delta: null }, path, path)), input);
      }
      stream = attentionHalf(ops, spec, layer, stream, path, path);
    } else {
      stream = decoderLayer(ops, spec, layer, stream, path, path);
    }
  }
  return settle(ops, stream);
}

/** The state that a head reads: a normed stream, with the factor on logits. */
export const headState = <T>(ops: Ops<T>, spec: ModelSpec, x: T): T =>
  spec.logitScale === 1 ? x : ops.scale(x, spec.logitScale);

/** The stream after the last layer → the state `[batch, tokens, hidden]` that the model's own head reads. */
export const finalState = <T>(ops: Ops<T>, spec: ModelSpec, x: T): T =>
  headState(ops, spec, ops.norm(x, 'norm', spec.norm));

export const capLogits = <T>(ops: Ops<T>, spec: ModelSpec, logits: T): T =>
  spec.finalSoftcap === null ? logits : ops.softcap(logits, spec.finalSoftcap);
