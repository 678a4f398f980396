/**
 * Directions of the stream at a cut, which tell places of a text apart: a logistic regression on the stream, scaled to unit root mean square.
 * Reading one costs a dot product.
 */

/** Keeps a stream of zeros finite. */
const epsilon = 1e-12;

/** Root mean square of a token's stream. */
function sizeOf(state: Float32Array): number {
  let squares = 0;
  for (const x of state) squares += x * x;
  return Math.sqrt(squares / state.length + epsilon);
}

/** `weights` `[width]` · a token's stream, scaled to unit root mean square. */
export function along(weights: Float32Array, state: Float32Array): number {
  let dot = 0;
  for (let i = 0; i < state.length; i++) dot += weights[i]! * state[i]!;
  return dot / sizeOf(state);
}

/** Steps of Adam, each over all states; more change nothing that one would see. */
export const directionSteps = 60;
/** Steps that are taken even if the time is over: a direction of fewer says little. */
const leastSteps = 20;
const learningRate = 0.05;

/**
 * The direction `[width + 1]`, its bias last, along which the log-odds of yes (1) rise. `ridge`: of a mean loss, so that a few thousand
 * states do not fit a thousand weights by heart.
 */
export function fitDirection(
  states: readonly Float32Array[],
  yes: ArrayLike<number>,
  ridge: number,
  hurried: () => boolean = () => false,
): Float32Array {
  const width = states[0]?.length ?? 0;
  const scaled = states.map((state) => {
    const scale = 1 / sizeOf(state);
    return state.map((x) => x * scale);
  });
  const direction = new Float64Array(width + 1);
  const first = new Float64Array(width + 1);
  const second = new Float64Array(width + 1);
  for (let step = 1; step <= directionSteps && !(step > leastSteps && hurried()); step++) {
    const gradient = new Float64Array(width + 1);
    for (const [n, x] of scaled.entries()) {
      let odds = direction[width]!;
      for (let i = 0; i < width; i++) odds += direction[i]! * x[i]!;
      const error = (1 / (1 + Math.exp(-odds)) - yes[n]!) / scaled.length;
      for (let i = 0; i < width; i++) gradient[i]! += error * x[i]!;
      gradient[width]! += error;
    }
    for (let i = 0; i <= width; i++) {
      const g = gradient[i]! + (i < width ? ridge * direction[i]! : 0);
      first[i] = 0.9 * first[i]! + 0.1 * g;
      second[i] = 0.99 * second[i]! + 0.01 * g * g;
      const rate = (learningRate * Math.sqrt(1 - 0.99 ** step)) / (1 - 0.9 ** step);
      direction[i]! -= (rate * first[i]!) / (Math.sqrt(second[i]!) + 1e-8);
    }
  }
  return Float32Array.from(direction);
}
