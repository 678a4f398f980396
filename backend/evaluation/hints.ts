/** Weights of the text's hints: fitted on the full model's own text, for each exit. */
import { logOdds, raised, type HintAgreement, type HintWeights } from '../decoding/hints.ts';
import type { Promised } from '../../protocol/options-promise.ts';
import type { ExitView } from './calibration.ts';
import { lossOf } from './promise.ts';

/** An exit's predictions, and how each stands to the hint of its place; null: there is none. */
export type HintedView = ExitView & { readonly agreements: readonly (HintAgreement | null)[] };

const ways: readonly HintAgreement[] = ['agrees', 'agreesClearly', 'contradicts', 'contradictsClearly'];
/** Predictions of which an exit is less sure do not count: no token leaves by them, and their regret may be unknown (decoding/observe.ts). */
const leastConfidence = 0.5;
/** Weights of deep exits in six kinds of text. A few predictions change little of them, and little of a slope of 1. */
const usual: HintWeights = { agrees: 1, agreesClearly: 2, contradicts: -0.3, contradictsClearly: -0.8 };
/** Standard deviations that weights and the slope are taken to have around these. */
const [spread, spreadOfSlope] = [1, 0.3];
const newtonSteps = 20;

/**
 * Logistic regression of what the first `tokens` predictions lose under a promise, on their log-odds and on how they stand to hints, with
 * Newton's method. The weights are divided by the slope of the log-odds, so that they add to these.
 */
export function fitHints(
  { confidence, deferred, regret, agreements }: HintedView,
  promise: Promised,
  tokens: number,
): HintWeights {
  const rows = agreements.slice(0, tokens).flatMap((agreement, i) => {
    if (deferred[i] || confidence[i]! < leastConfidence) return [];
    const isWay = ways.map((way) => Number(way === agreement));
    return [{ x: [1, logOdds(confidence[i]!), ...isWay], kept: 1 - lossOf(promise, regret[i]!) }];
  });
  const expected = [0, 1, ...ways.map((way) => usual[way])];
  const ridge = [1e-3, 1 / spreadOfSlope ** 2, ...ways.map(() => 1 / spread ** 2)];
  let weights = expected;
  for (let step = 0; step < newtonSteps; step++) {
    const gradient = ridge.map((r, i) => r * (expected[i]! - weights[i]!));
    const curvature = ridge.map((r, i) => ridge.map((_, j) => (i === j ? r : 0)));
    for (const { x, kept } of rows) {
      const chance = 1 / (1 + Math.exp(-x.reduce((sum, value, i) => sum + value * weights[i]!, 0)));
      for (const [i, value] of x.entries()) {
        gradient[i]! += (kept - chance) * value;
        for (const [j, other] of x.entries()) curvature[i]![j]! += chance * (1 - chance) * value * other;
      }
    }
    const change = solved(curvature, gradient);
    weights = weights.map((weight, i) => weight + change[i]!);
  }
  const [, slope, ...rest] = weights;
  const [agrees, agreesClearly, contradicts, contradictsClearly] = rest.map((weight) => weight / Math.max(0.1, slope!));
  return {
    agrees: agrees!,
    agreesClearly: agreesClearly!,
    contradicts: contradicts!,
    contradictsClearly: contradictsClearly!,
  };
}

/** The same view, as sure as the hints leave it. */
export const withHints = <View extends HintedView>(view: View, weights: HintWeights): View => ({
  ...view,
  confidence: view.agreements.map((agreement, i) =>
    agreement === null ? view.confidence[i]! : raised(view.confidence[i]!, weights[agreement]),
  ),
});

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
