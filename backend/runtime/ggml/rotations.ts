/** The angles by which a pass turns queries and keys, tabulated in JavaScript. Knows positions, no graph. */
import { ropeFactor, variesInText, type ModelSpec, type RopeSpec } from '../../model/spec.ts';

/** The shape of a pass and the positions of its tokens, on which rotations depend. */
export interface Turned {
  readonly batch: number;
  readonly tokens: number;
  /** Position of the first token of each row. */
  readonly starts: readonly number[];
  /** Positions of each row's text so far, those of later passes too: some rotations depend on it. */
  readonly lengths: readonly number[];
}

/** Cosines and sines of one rotation, tabulated as positions are met. */
export interface RotationTable {
  /** `[batch, tokens, dimensions / 2]` for the positions of a pass. */
  angles(pass: Turned): { cos: Float32Array; sin: Float32Array };
}

function rotationTable(rope: RopeSpec): RotationTable {
  const half = rope.dimensions / 2;
  const short = tabulated(rope, rope.inverseFrequencies);
  const long = rope.long && tabulated(rope, rope.long.inverseFrequencies);
  return {
    angles({ batch, tokens, starts, lengths }) {
      const rows = starts.map((start, r) => {
        const isLong = rope.long !== null && lengths[r]! > rope.long.beyond;
        return (isLong ? long! : short)(start, tokens);
      });
      if (batch === 1) return rows[0]!;
      const [c, s] = [new Float32Array(batch * tokens * half), new Float32Array(batch * tokens * half)];
      for (const [r, { cos, sin }] of rows.entries()) {
        c.set(cos, r * tokens * half);
        s.set(sin, r * tokens * half);
      }
      return { cos: c, sin: s };
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

/** The different rotations of a model. */
const ropesOf = (spec: ModelSpec): RopeSpec[] => [
  ...new Map(
    spec.layers.flatMap(({ rope, queryRope }) => [rope, queryRope].flatMap((r) => (r ? [[r.name, r] as const] : []))),
  ).values(),
];

/** By name, the rotations whose angles are inputs of a pass. */
export type InputRotations = ReadonlyMap<string, RotationTable>;

export const inputRotations = (spec: ModelSpec): InputRotations =>
  new Map(ropesOf(spec).flatMap((rope) => (variesInText(rope) ? [[rope.name, rotationTable(rope)] as const] : [])));
