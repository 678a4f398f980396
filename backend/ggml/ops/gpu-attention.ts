/**
 * Attention on a GPU. Its mask is made there: if it were sent, it would grow with the text in every pass. If ggml has no single operator
 * for attention of some shape, it is composed of products and a softmax. Knows no layer.
 */
import { types, type Context, type Library, type Tensor } from '../library.ts';

interface Shape {
  /** Of a row; rows. */
  readonly tokens: number;
  readonly batch: number;
  readonly keys: number;
}

/** Large enough to be −∞ in 16 bits. */
const hidden = -1e30;

/**
 * `[keys, tokens, 1, batch]` in 16 bits: 0 if a column may attend to a key, else −∞; `window` counts the own position. `positions`: of each
 * column, integers; `places`: the numbers from 0 to `keys` − 1; `least`: the one number `1 − window`, if there is a window.
 */
export function madeMask(
  g: Library,
  c: Context,
  { tokens, batch, keys }: Shape,
  { positions, places, least }: { positions: Tensor; places: Tensor; least: Tensor | null },
): Tensor {
  const own = g.reshape4(c, g.cast(c, positions, types.F32), 1, tokens, 1, batch);
  const all = g.repeat4(c, places, keys, tokens, 1, batch);
  const ahead = g.sub(c, all, own);
  const later = g.clamp(c, ahead, 0, 1);
  const outside = least === null ? later : g.add(c, later, g.clamp(c, g.add(c, g.scale(c, ahead, -1), least), 0, 1));
  return g.cast(c, g.scale(c, outside, hidden), types.F16);
}

export interface AttentionInputs {
  /** `[headDimensions, tokens, heads, batch]`. */
  readonly queries: Tensor;
  /** `[headDimensions, keys, kvHeads, batch]` each. */
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly mask: Tensor;
  readonly scale: number;
  readonly softcap: number;
}

/** `[headDimensions, heads, tokens, batch]`, as the one operator gives it. */
export function composedAttention(
  g: Library,
  c: Context,
  { queries, keys, values, mask, scale, softcap }: AttentionInputs,
): Tensor {
  let scores = g.mulMat(c, g.cont(c, keys), g.cont(c, queries));
  if (softcap > 0) scores = g.scale(c, g.tanh(c, g.scale(c, scores, scale / softcap)), softcap);
  const shares = g.softMaxMasked(c, scores, mask, softcap > 0 ? 1 : scale, 0);
  const across = g.cont(c, g.permute(c, values, 1, 0, 2, 3));
  return g.cont(c, g.permute(c, g.mulMat(c, across, shares), 0, 2, 1, 3));
}
