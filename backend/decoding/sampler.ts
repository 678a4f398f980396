/** From a row of logits to a token: repetition penalty, temperature, top-k, top-p, min-p, then a draw. */
import type { Random } from './random.ts';

export interface SamplingOptions {
  /** 0: always the most probable token. */
  readonly temperature: number;
  /** Only this many most probable tokens; 0: all. */
  readonly topK: number;
  /** Only the most probable tokens that together reach this share; 1: all. */
  readonly topP: number;
  /** Only tokens at least this share as probable as the first; 0: all. */
  readonly minP: number;
  /** Divides positive logits of tokens already seen, multiplies negative ones (Keskar et al., CTRL); 1: off. */
  readonly repetitionPenalty: number;
}

export const greedy: SamplingOptions = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 };

/** Whether a readout's first candidate is the answer, without any row of logits. */
export const needsLogits = (options: SamplingOptions): boolean =>
  options.temperature > 0 || options.repetitionPenalty !== 1;

/** A distribution over the tokens that survived the filters, most probable first. */
export interface Distribution {
  readonly ids: Int32Array;
  /** Sum to 1. */
  readonly probabilities: Float64Array;
}

/** Draws a token; the greedy choice takes no random number. Does not change `logits`. */
export function sample(
  logits: Float32Array,
  options: SamplingOptions,
  seen: ReadonlySet<number>,
  random: Random,
): number {
  const penalised = penalise(logits, options.repetitionPenalty, seen);
  if (options.temperature === 0) return argmax(penalised);
  return draw(distribution(penalised, options), random());
}

/** The distribution that `sample` draws from. The order of the filters is Transformers': top-k, top-p, min-p. */
export function distribution(logits: Float32Array, options: Omit<SamplingOptions, 'repetitionPenalty'>): Distribution {
  const order = descending(logits, options.topK);
  const peak = logits[order[0]!]!;
  const weights = Float64Array.from(order, (id) => Math.exp((logits[id]! - peak) / options.temperature));
  let total = weights.reduce((a, b) => a + b, 0);
  let kept = order.length;
  if (options.topP < 1) {
    let sum = 0;
    kept = 0;
    while (kept < order.length && sum < options.topP * total) sum += weights[kept++]!;
    kept = Math.max(1, kept);
  }
  if (options.minP > 0) {
    let last = kept;
    while (last > 1 && weights[last - 1]! < options.minP * weights[0]!) last--;
    kept = last;
  }
  total = 0;
  for (let i = 0; i < kept; i++) total += weights[i]!;
  return { ids: order.subarray(0, kept), probabilities: weights.subarray(0, kept).map((w) => w / total) };
}

/** The token whose share of [0, 1) holds `at`. */
export function draw({ ids, probabilities }: Distribution, at: number): number {
  let sum = 0;
  for (let i = 0; i < ids.length; i++) {
    sum += probabilities[i]!;
    if (at < sum) return ids[i]!;
  }
  return ids.at(-1)!;
}

/** Index of the largest value; the first of equals. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

function penalise(logits: Float32Array, penalty: number, seen: ReadonlySet<number>): Float32Array {
  if (penalty === 1 || seen.size === 0) return logits;
  const changed = logits.slice();
  for (const id of seen) changed[id] = changed[id]! > 0 ? changed[id]! / penalty : changed[id]! * penalty;
  return changed;
}

/** Ids of finite logits, largest first; only the first `limit` where that is not 0. */
function descending(logits: Float32Array, limit: number): Int32Array {
  let ids: number[] = [];
  if (limit > 0 && limit < logits.length) {
    const threshold = nthLargest(logits, limit);
    for (let i = 0; i < logits.length; i++) if (logits[i]! >= threshold && logits[i]! > -Infinity) ids.push(i);
  } else {
    for (let i = 0; i < logits.length; i++) if (logits[i]! > -Infinity) ids.push(i);
  }
  ids.sort((a, b) => logits[b]! - logits[a]! || a - b);
  if (limit > 0) ids = ids.slice(0, limit);
  return Int32Array.from(ids);
}

const nthLargest = (values: Float32Array, n: number): number => values.slice().sort()[values.length - n]!;
