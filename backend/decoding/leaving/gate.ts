/**
 * A gate predicts from the stream alone whether a token would leave at an exit, so that the exit's head is read only if that is likely to
 * pay. A gate can keep a token from leaving, but never makes it leave.
 */
import { along, fitDirection } from '../../exits/direction.ts';

export interface Gate {
  /** `[width]` of the stream at the exit. */
  readonly weights: Float32Array;
  readonly bias: number;
  /** Least chance of leaving at which reading the exit pays. */
  readonly least: number;
}

/** Whether the exit should be read for this state `[width]`. */
export const opens = (gate: Gate, state: Float32Array): boolean => chanceOf(gate, state) >= gate.least;

/** Chance that a token with this state leaves. */
export const chanceOf = ({ weights, bias }: Pick<Gate, 'weights' | 'bias'>, state: Float32Array): number =>
  1 / (1 + Math.exp(-(bias + along(weights, state))));

const ridge = 0.01;

/** Fits a gate to states `[n, width]` and whether each left (1) or not (0). */
export function fitGate(states: readonly Float32Array[], left: ArrayLike<number>): Pick<Gate, 'weights' | 'bias'> {
  const direction = fitDirection(states, left, ridge);
  const width = direction.length - 1;
  return { weights: direction.slice(0, width), bias: direction[width]! };
}
