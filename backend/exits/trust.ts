/**
 * Trust in the text: how far the stream at a cut says that the text goes on as it did before (data/hints.ts). It belongs to a cut, as a memory
 * does; exits at the same cut share it.
 */
import { cutName, type Cut } from '../model/spec.ts';
import { along } from './direction.ts';

/** `trust.16.end`: path of the direction. */
export const trustPath = (cut: Cut): string => `trust.${cutName(cut)}`;

/** Log-odds that a clear hint is right, by the stream alone: a `direction` `[width + 1]` · the scaled stream and a one. */
export const trustOf = (direction: Float32Array, state: Float32Array): number =>
  along(direction, state) + direction[state.length]!;
