/** Weights of the text's hints: fitted on the full model's own text, for each exit. */
import { logOdds, raised, type HintAgreement, type HintWeights } from '../../decoding/leaving/hints.ts';
import type { Promised } from '../../../protocol/options/promise.ts';
import { leastConfidence, type ExitView } from './calibration.ts';
import { fitLogistic } from './logistic.ts';
import { lossOf } from './promise.ts';

/** An exit's predictions, and how each stands to the hint of its place; null: there is none. */
export type HintedView = ExitView & { readonly agreements: readonly (HintAgreement | null)[] };

const ways: readonly HintAgreement[] = ['agrees', 'agreesClearly', 'contradicts', 'contradictsClearly'];
/** Weights of deep exits in six kinds of text. A few predictions change little of them, and little of a slope of 1. */
const usual: HintWeights = { agrees: 1, agreesClearly: 2, contradicts: -0.3, contradictsClearly: -0.8 };
/** Standard deviations that weights and the slope are taken to have around these. */
const [spread, spreadOfSlope, spreadOfBias] = [1, 0.3, 30];

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
    return [{ x: [1, logOdds(confidence[i]!), ...isWay], y: 1 - lossOf(promise, regret[i]!) }];
  });
  const weights = fitLogistic(rows, {
    expected: [0, 1, ...ways.map((way) => usual[way])],
    spread: [spreadOfBias, spreadOfSlope, ...ways.map(() => spread)],
  });
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
