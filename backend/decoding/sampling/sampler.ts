/** From a row of logits to a token: penalties and biases, temperature, top-k, top-p, min-p, then a draw. */
import type { Readout } from '../../runtime/staged-model.ts';
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
  /** Taken from the logits of tokens that the text itself has already, and once more for each time that it has them (OpenAI's); 0: off. */
  readonly presencePenalty?: number;
  readonly frequencyPenalty?: number;
  /** Added to logits, by token. */
  readonly bias?: ReadonlyMap<number, number>;
}

/** What a text has so far. */
export interface SeenTokens {
  /** Its prompt's tokens, too. */
  readonly all: ReadonlySet<number>;
  /** How often each of its own has been written. */
  readonly written: ReadonlyMap<number, number>;
}

export const greedy: SamplingOptions = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 };

/** Whether a readout's first candidate is the answer, without any row of logits. */
export const needsLogits = (options: SamplingOptions): boolean => options.temperature > 0 || changesLogits(options);

/** Whether a token's logit depends on more than the model. */
export const changesLogits = ({
  repetitionPenalty,
  presencePenalty,
  frequencyPenalty,
  bias,
}: SamplingOptions): boolean =>
  repetitionPenalty !== 1 || Boolean(presencePenalty) || Boolean(frequencyPenalty) || (bias?.size ?? 0) > 0;

/** A distribution over the tokens that survived the filters, in no order. */
export interface Distribution {
  readonly ids: Int32Array;
  /** Sum to 1. */
  readonly probabilities: Float64Array;
}

/** Draws a token; the greedy choice takes no random number. Does not change `logits`. */
export function sample(logits: Float32Array, options: SamplingOptions, seen: SeenTokens, random: Random): number {
  const changed = changesLogits(options) ? changedLogits(logits, options, seen) : logits;
  if (options.temperature === 0) return argmax(changed);
  return draw(distribution(changed, options), random());
}

/**
 * The distribution that `sample` draws from. The order of the filters is Transformers': top-k, top-p, min-p. Sorting a
 * whole vocabulary would cost more than a layer of a small model, so only what can survive is sorted.
 */
export function distribution(
  logits: Float32Array,
  { temperature, topK, topP, minP }: Pick<SamplingOptions, 'temperature' | 'topK' | 'topP' | 'minP'>,
): Distribution {
  const best = argmax(logits);
  const peak = logits[best]!;
  // A logit without bound leaves no other token a chance. If all tokens are forbidden, the first stands for them.
  if (!Number.isFinite(peak)) return { ids: Int32Array.of(best), probabilities: Float64Array.of(1) };
  let ids = topK > 0 && topK < logits.length ? largest(logits, topK) : finite(logits);
  // Each weight once, and plain loops: a callback for each of 150,000 tokens takes as long as a layer.
  const weights = new Float64Array(logits.length);
  for (let i = 0; i < ids.length; i++) weights[ids[i]!] = Math.exp((logits[ids[i]!]! - peak) / temperature);
  if (topP < 1) {
    const total = sum(ids, weights);
    // A token whose probability is below an even share of what top-p drops can never be kept, except for the first.
    const least = Math.min(1, ((1 - topP) * total) / ids.length);
    ids = ids.filter((id) => weights[id]! >= least).sort((a, b) => logits[b]! - logits[a]! || a - b);
    let kept = 0;
    for (let share = 0; kept < ids.length && share < topP * total; kept++) share += weights[ids[kept]!]!;
    ids = ids.subarray(0, Math.max(1, kept));
  }
  if (minP > 0) ids = ids.filter((id) => weights[id]! >= minP);
  const total = sum(ids, weights);
  const probabilities = new Float64Array(ids.length);
  for (let i = 0; i < ids.length; i++) probabilities[i] = weights[ids[i]!]! / total;
  return { ids, probabilities };
}

/** The token whose share of [0, 1) contains `at`. */
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

/** The probability of a token before anything is dropped: a candidate's, else out of the row of logits that it was drawn from. */
export function probabilityOf(
  token: number,
  { candidates, confidence }: Pick<Readout, 'candidates' | 'confidence'>,
  logits: Float32Array | null,
): number {
  const known = candidates.find(({ id }) => id === token)?.probability;
  if (known !== undefined || logits === null) return known ?? confidence;
  return Math.exp(logProbabilities(logits, [token])[0]!);
}

/** Log probabilities, in nats, of some tokens of a row of logits. */
export function logProbabilities(logits: Float32Array, ids: readonly number[]): number[] {
  const peak = logits[argmax(logits)]!;
  let total = 0;
  for (let i = 0; i < logits.length; i++) total += Math.exp(logits[i]! - peak);
  const all = peak + Math.log(total);
  return ids.map((id) => logits[id]! - all);
}

/** Ids of the `count` largest logits, largest first. */
export const best = (logits: Float32Array, count: number): number[] =>
  [...largest(logits, Math.min(count, logits.length))].sort((a, b) => logits[b]! - logits[a]! || a - b);

function changedLogits(
  logits: Float32Array,
  { repetitionPenalty, presencePenalty = 0, frequencyPenalty = 0, bias = new Map() }: SamplingOptions,
  { all, written }: SeenTokens,
): Float32Array {
  const changed = logits.slice();
  if (repetitionPenalty !== 1)
    for (const id of all)
      changed[id] = changed[id]! > 0 ? changed[id]! / repetitionPenalty : changed[id]! * repetitionPenalty;
  for (const [id, times] of written) changed[id]! -= presencePenalty + times * frequencyPenalty;
  for (const [id, added] of bias) if (id < changed.length) changed[id]! += added;
  return changed;
}

function sum(ids: Int32Array, weights: Float64Array): number {
  let total = 0;
  for (let i = 0; i < ids.length; i++) total += weights[ids[i]!]!;
  return total;
}

function finite(logits: Float32Array): Int32Array {
  const ids = new Int32Array(logits.length);
  let count = 0;
  for (let id = 0; id < logits.length; id++) if (logits[id]! > -Infinity) ids[count++] = id;
  return ids.subarray(0, count);
}

/** Ids of the `count` largest logits, the first of equals; a heap whose root is the smallest of them. */
function largest(logits: Float32Array, count: number): Int32Array {
  const heap = new Int32Array(count);
  let size = 0;
  const isLess = (a: number, b: number): boolean => logits[a]! < logits[b]! || (logits[a] === logits[b] && a > b);
  const swap = (i: number, j: number): void => {
    [heap[i], heap[j]] = [heap[j]!, heap[i]!];
  };
  const sink = (at: number): void => {
    for (let i = at; ;) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2]) if (child < size && isLess(heap[child]!, heap[least]!)) least = child;
      if (least === i) return;
      swap(i, least);
      i = least;
    }
  };
  for (let id = 0; id < logits.length; id++) {
    if (!(logits[id]! > -Infinity)) continue;
    if (size < count) {
      heap[size] = id;
      for (let i = size++; i > 0 && isLess(heap[i]!, heap[(i - 1) >> 1]!); i = (i - 1) >> 1) swap(i, (i - 1) >> 1);
    } else if (isLess(heap[0]!, id)) {
      heap[0] = id;
      sink(0);
    }
  }
  return heap.slice(0, size);
}
