/** Logistic regression of a few numbers, with Newton's method, its steps halved where they would go too far. Pure. */

/** What is known of weights beforehand: they are taken to lie around `expected`, with these standard deviations. */
export interface Prior {
  readonly expected: readonly number[];
  readonly spread: readonly number[];
}

export interface Row {
  /** One number a weight. */
  readonly x: readonly number[];
  /** From 0 to 1. */
  readonly y: number;
}

const newtonSteps = 20;
/** A step that makes the fit worse is halved this often at most. */
const halvings = 20;

/** The weights w for which 1 ÷ (1 + exp(−w · x)) is closest to y. */
export function fitLogistic(rows: readonly Row[], { expected, spread }: Prior): number[] {
  const ridge = spread.map((one) => 1 / one ** 2);
  const oddsOf = (weights: readonly number[], { x }: Row): number =>
    x.reduce((sum, value, i) => sum + value * weights[i]!, 0);
  /** The negative log-likelihood of y and of the weights. */
  const missBy = (weights: readonly number[]): number => {
    let miss = ridge.reduce((sum, r, i) => sum + (r * (weights[i]! - expected[i]!) ** 2) / 2, 0);
    for (const row of rows) {
      const odds = oddsOf(weights, row);
      miss += Math.max(0, odds) + Math.log1p(Math.exp(-Math.abs(odds))) - row.y * odds;
    }
    return miss;
  };
  let weights = [...expected];
  for (let step = 0; step < newtonSteps; step++) {
    const gradient = ridge.map((r, i) => r * (expected[i]! - weights[i]!));
    const curvature = ridge.map((r, i) => ridge.map((_, j) => (i === j ? r : 0)));
    for (const row of rows) {
      const { x, y } = row;
      const chance = 1 / (1 + Math.exp(-oddsOf(weights, row)));
      for (const [i, value] of x.entries()) {
        gradient[i]! += (y - chance) * value;
        for (const [j, other] of x.entries()) curvature[i]![j]! += chance * (1 - chance) * value * other;
      }
    }
    const change = solved(curvature, gradient);
    const moved = (share: number): number[] => weights.map((weight, i) => weight + share * change[i]!);
    const before = missBy(weights);
    let share = 1;
    for (let n = 0; n < halvings && !(missBy(moved(share)) <= before); n++) share /= 2;
    weights = moved(share);
  }
  return weights;
}

/** The x of `a · x = b` for a symmetric positive definite `a`, by elimination. */
function solved(a: readonly (readonly number[])[], b: readonly number[]): number[] {
  const rows = a.map((row, i) => [...row, b[i]!]);
  for (const [i, pivot] of rows.entries()) {
    for (const [j, row] of rows.entries()) {
      if (j === i) continue;
      const factor = row[i]! / pivot[i]!;
      for (const [column, value] of pivot.entries()) row[column]! -= factor * value;
    }
  }
  return rows.map((row, i) => row.at(-1)! / row[i]!);
}
