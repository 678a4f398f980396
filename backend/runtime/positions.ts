/** What a graph of ONNX Runtime is told of positions: masks and places, built in JavaScript for each pass. */
import type { Value } from '../onnx/session.ts';
import type { Pass } from './pass-model.ts';

/** Low enough that its exponential is zero, finite so that a row of nothing but masked keys stays a number. */
const hidden = -1e9;
let zeros = new Float32Array(4096);

/**
 * Mask `[batch, 1, tokens · repeats, keys]` added to the scores: 0 where a token may look, very low elsewhere. New token i
 * of row r is at position `starts[r] + i` of the row's keys and sees `window` positions back. Each token's row stands `repeats`
 * times, once for each query head of a group.
 */
export function attentionMask(pass: Pass, keys: number, window: number | null, repeats = 1): Value {
  const { batch, tokens, starts } = pass;
  const shape = [batch, 1, tokens * repeats, keys];
  const seesAll = batch === 1 && tokens === 1 && starts[0] === keys - 1 && (window === null || keys <= window);
  if (seesAll) {
    if (zeros.length < repeats * keys) zeros = new Float32Array(2 * repeats * keys);
    return { data: zeros.subarray(0, repeats * keys), shape };
  }
  const data = new Float32Array(batch * tokens * repeats * keys).fill(hidden);
  for (let r = 0; r < batch; r++) {
    for (let i = 0; i < tokens; i++) {
      const row = (r * tokens + i) * repeats * keys;
      const end = starts[r]! + i + 1;
      data.fill(0, row + (window === null ? 0 : Math.max(0, end - window)), row + end);
      for (let n = 1; n < repeats; n++) data.copyWithin(row + n * keys, row, row + keys);
    }
  }
  return { data, shape };
}

/** Row and position of each new token among the keys of a batch: `[batch, tokens, 2]`. */
export function newPlaces({ batch, tokens, starts }: Pass): Value {
  const data = new BigInt64Array(batch * tokens * 2);
  for (let r = 0; r < batch; r++) {
    for (let i = 0; i < tokens; i++) {
      data[2 * (r * tokens + i)] = BigInt(r);
      data[2 * (r * tokens + i) + 1] = BigInt(starts[r]! + i);
    }
  }
  return { data, shape: [batch, tokens, 2] };
}
