/**
 * Trust in the text: how far the stream at a cut says that the text goes on as it did before (data/hints.ts). A direction of the stream, so
 * reading it costs one dot product and no head. It belongs to a cut, as a memory does; exits at the same cut share it.
 */
import { cutName, type Cut } from '../model/spec.ts';

/** `trust.16.end`: path of the direction. */
export const trustPath = (cut: Cut): string => `trust.${cutName(cut)}`;

/** Keeps a stream of zeros finite. */
const epsilon = 1e-12;

/** Root mean square of a token's stream. */
export function sizeOf(state: Float32Array): number {
  let squares = 0;
  for (const x of state) squares += x * x;
  return Math.sqrt(squares / state.length + epsilon);
}

/** The stream of some tokens `[tokens, width]`, scaled to unit root mean square, with a one behind each: `[tokens, width + 1]`. */
export function trustInputs(stream: Float32Array, width: number): Float32Array {
  const tokens = stream.length / width;
  const inputs = new Float32Array(tokens * (width + 1));
  for (let t = 0; t < tokens; t++) {
    const state = stream.subarray(t * width, (t + 1) * width);
    const size = sizeOf(state);
    const at = t * (width + 1);
    for (let i = 0; i < width; i++) inputs[at + i] = state[i]! / size;
    inputs[at + width] = 1;
  }
  return inputs;
}

/** `weights` `[width]` · a token's stream, scaled to unit root mean square. */
export function along(weights: Float32Array, state: Float32Array): number {
  let dot = 0;
  for (let i = 0; i < state.length; i++) dot += weights[i]! * state[i]!;
  return dot / sizeOf(state);
}

/** About 1 where the hint is right and −1 where it is wrong: a `direction` `[width + 1]` · the scaled stream and a one. */
export const trustOf = (direction: Float32Array, state: Float32Array): number =>
  along(direction, state) + direction[state.length]!;
