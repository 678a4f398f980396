/** Attention of the columns of a pass over their rows: one operator for each run of neighbouring rows. */
import type { Ops } from '../../model/ops.ts';
import type { ModelSpec } from '../../model/spec.ts';
import type { Value } from '../graph.ts';
import type { Tensor } from '../library.ts';
import { composedAttention, madeMask } from './gpu-attention.ts';
import { byHead, value, type Past, type Pass } from './pass.ts';

/** `GGML_PREC_F32`. */
const fullPrecision = 10;
/** Operators of an attention at most for each run of rows. */
export const runNodes = 24;

/** What some neighbouring rows of a pass see: `[headDimensions, keys, kvHeads, rows]` each; `at`: the place of the first in the pass. */
interface Seen {
  readonly at: number;
  readonly rows: number;
  readonly keys: Tensor;
  readonly values: Tensor;
}

/**
 * Inputs it adds when first needed: `entries` (the place of each column among keys and values), `mask` or `mask.<window>`
 * `[keys, tokens, 1, batch]` in 16 bits; on a GPU, which makes masks itself, `positions` (of each column).
 */
export function attentionOf(pass: Pass): Ops<Value>['attention'] {
  const { processor, sketch, weights, tokens, batch, columns } = pass;
  const { library: g } = processor;
  const { context: c } = sketch;
  const mask = masksOf(pass);
  return (q, k, v, spec, { window }, slot, sinks) => {
    const { heads, headDimensions: d, attentionScale: scale, attentionSoftcap } = spec;
    const softcap = attentionSoftcap ?? 0;
    const past = pass.past(slot);
    const count = past?.keys ?? tokens;
    const visible = mask(window, count);
    /** `[headDimensions, heads, tokens, rows]` of some rows of the pass. */
    const attended = ({ at, rows, keys, values }: Seen): Tensor => {
      const { tensor, stride = q.width * 4 } = q;
      const [head, offset] = [d * 4, at * tokens * stride];
      const split = g.view4(c, tensor, d, heads, tokens, rows, head, stride, tokens * stride, offset);
      const queries = g.permute(c, split, 0, 2, 1, 3);
      const [line, page] = [count * 2, count * tokens * 2];
      const shown = rows === batch ? visible : g.view4(c, visible, count, tokens, 1, rows, line, page, page, at * page);
      const y = g.flashAttention(c, queries, keys, values, shown, scale, 0, softcap);
      g.setFlashPrecision(y, fullPrecision);
      if (sinks) g.addSinks(y, weights.vector(`${sinks}.weight`));
      if (!processor.isGpu || sinks || processor.supports(y)) return y;
      return composedAttention(g, c, { queries, keys, values, mask: shown, scale, softcap });
    };
    const y = seen(pass, k, v, spec, past)
      .map(attended)
      .reduce((before, next) => g.concat(c, before, next, 3));
    return value(g.reshape2(c, y, heads * d, columns), heads * d);
  };
}

/** The mask of each window: an input, or on a GPU a tensor that is made there once. All attentions of a pass have equally many keys. */
function masksOf(pass: Pass): (window: number | null, keys: number) => Tensor {
  const { processor, sketch, weights, tokens, batch, columns } = pass;
  const made = new Map<string, Tensor>();
  return (window, keys) => {
    const name = window === null ? 'mask' : `mask.${window}`;
    if (!processor.isGpu) return sketch.input(name, 'F16', keys, tokens, 1, batch);
    const known = made.get(name);
    if (known !== undefined) return known;
    const inputs = {
      positions: sketch.input('positions', 'I32', columns),
      places: weights.constant(`places ${keys}`, () => Float32Array.from({ length: keys }, (_, i) => i)),
      least: window === null ? null : weights.constant(`least ${window}`, () => Float32Array.of(1 - window)),
    };
    const mask = madeMask(processor.library, sketch.context, { tokens, batch, keys }, inputs);
    made.set(name, mask);
    return mask;
  };
}

/** Writes new keys and values to the past, and returns the keys and values that the queries of each run of rows see. */
function seen(pass: Pass, k: Value, v: Value, { kvHeads, headDimensions: d }: ModelSpec, past: Past | null): Seen[] {
  const { sketch, tokens, batch, columns } = pass;
  const { library: g } = pass.processor;
  const { context: c } = sketch;
  if (past === null) {
    const split = (x: Value): Tensor => g.permute(c, byHead(pass, x, kvHeads, tokens, batch), 0, 2, 1, 3);
    return [{ at: 0, rows: batch, keys: split(k), values: split(v) }];
  }
  const places = sketch.input('entries', 'I64', columns);
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
}

/** Rows in runs of neighbours, to which one operator can attend: the place of a run in the pass, its first row, its length. */
export function runsOf(
  rows: readonly number[],
): { readonly at: number; readonly first: number; readonly rows: number }[] {
  const starts = rows.flatMap((row, at) => (at > 0 && rows[at - 1] === row - 1 ? [] : [at]));
  return starts.map((at, i) => ({ at, first: rows[at]!, rows: (starts[i + 1] ?? rows.length) - at }));
}
