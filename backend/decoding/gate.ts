/**
 * A gate predicts from the stream alone whether a token would leave at an exit, so that the exit's head is read only if that is likely to
 * pay: a logistic regression on the state, scaled to unit root mean square. A gate can keep a token from leaving, but never makes it leave.
 */
import { along, sizeOf } from '../exits/trust.ts';

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

const steps = 150;
const learningRate = 0.05;
/** Ridge, so that a few thousand states do not fit a thousand weights by heart. */
const ridge = 0.01;

/** Fits a gate to states `[n, width]` and whether each left (1) or not (0), with Adam on the whole set. */
export function fitGate(states: readonly Float32Array[], left: ArrayLike<number>): Pick<Gate, 'weights' | 'bias'> {
  const width = states[0]?.length ?? 0;
  const scaled = states.map((state) => {
    const scale = 1 / sizeOf(state);
    return state.map((x) => x * scale);
  });
  const weights = new Float32Array(width + 1); // the bias is last
  const first = new Float32Array(width + 1);
  const second = new Float32Array(width + 1);
  for (let step = 1; step <= steps; step++) {
    const gradient = new Float32Array(width + 1);
    for (const [n, x] of scaled.entries()) {
      let z = weights[width]!;
      for (let i = 0; i < width; i++) z += weights[i]! * x[i]!;
      const error = (1 / (1 + Math.exp(-z)) - left[n]!) / scaled.length;
      for (let i = 0; i < width; i++) gradient[i]! += error * x[i]!;
      gradient[width]! += error;
    }
    for (let i = 0; i <= width; i++) {
      const g = gradient[i]! + (i < width ? ridge * weights[i]! : 0);
      first[i] = 0.9 * first[i]! + 0.1 * g;
      second[i] = 0.99 * second[i]! + 0.01 * g * g;
      const rate = (learningRate * Math.sqrt(1 - 0.99 ** step)) / (1 - 0.9 ** step);
      weights[i]! -= (rate * first[i]!) / (Math.sqrt(second[i]!) + 1e-8);
    }
  }
  return { weights: weights.slice(0, width), bias: weights[width]! };
}
