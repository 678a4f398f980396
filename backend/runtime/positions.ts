/** What a graph is told of positions: rotation angles and attention masks, built in JavaScript for each pass. */
import { ropeFactor, type ModelSpec, type RopeSpec } from '../model/spec.ts';
import type { Value } from '../onnx/session.ts';
import type { Pass } from './pass-model.ts';

/** Cosines and sines of one rotation, tabulated as positions are met. */
export interface RotationTable {
  /** `[batch, tokens, dimensions / 2]` for the positions of a pass. */
  angles(pass: Pass): { cos: Value; sin: Value };
}

export function rotationTable(rope: RopeSpec): RotationTable {
  const half = rope.dimensions / 2;
  const short = tabulated(rope, rope.inverseFrequencies);
  const long = rope.long && tabulated(rope, rope.long.inverseFrequencies);
  return {
    angles({ batch, tokens, starts, lengths }) {
      const shape = [batch, tokens, half];
      const rows = starts.map((start, r) => {
        const isLong = rope.long !== null && lengths[r]! > rope.long.beyond;
        return (isLong ? long! : short)(start, tokens);
      });
      if (batch === 1) return { cos: { data: rows[0]!.cos, shape }, sin: { data: rows[0]!.sin, shape } };
      const [c, s] = [new Float32Array(batch * tokens * half), new Float32Array(batch * tokens * half)];
      for (const [r, { cos, sin }] of rows.entries()) {
        c.set(cos, r * tokens * half);
        s.set(sin, r * tokens * half);
      }
      return { cos: { data: c, shape }, sin: { data: s, shape } };
    },
  };
}

/** Cosines and sines `[tokens, dimensions / 2]` of the positions from `start` on. */
type Tabulated = (start: number, tokens: number) => { cos: Float32Array; sin: Float32Array };

function tabulated(rope: RopeSpec, frequencies: readonly number[]): Tabulated {
  const half = rope.dimensions / 2;
  let cos = new Float32Array(0);
  let sin = new Float32Array(0);
  const grow = (positions: number): void => {
    const filled = cos.length / half;
    if (positions <= filled) return;
    const size = Math.max(positions, 2 * filled, 256);
    const [oldCos, oldSin] = [cos, sin];
    cos = new Float32Array(size * half);
    sin = new Float32Array(size * half);
    cos.set(oldCos);
    sin.set(oldSin);
    for (let p = filled; p < size; p++) {
      const factor = ropeFactor(rope, p);
      for (let j = 0; j < half; j++) {
        const angle = p * frequencies[j]!;
        cos[p * half + j] = Math.cos(angle) * factor;
        sin[p * half + j] = Math.sin(angle) * factor;
      }
    }
  };
  return (start, tokens) => {
    grow(start + tokens);
    const [from, to] = [start * half, (start + tokens) * half];
    return { cos: cos.subarray(from, to), sin: sin.subarray(from, to) };
  };
}

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

/** The different rotations of a model. */
export const ropesOf = (spec: ModelSpec): RopeSpec[] => [
  ...new Map(
    spec.layers.flatMap(({ rope, queryRope }) => [rope, queryRope].flatMap((r) => (r ? [[r.name, r] as const] : []))),
  ).values(),
];
