/**
 * How hints of the text (data/hints.ts) change how sure an exit is. A hint knows nothing of the model, so an exit that expects the same token
 * is right far more often than its probability says, and one that expects another is right less often.
 */
import type { Calibration, HintWeights } from '../../checkpoint/calibration.ts';
import type { Hint } from '../../data/hints.ts';
import type { Readout } from '../../runtime/staged-model.ts';

/** How an exit's prediction stands to the hint of its place. */
export type HintAgreement = keyof HintWeights;
export type { HintWeights };

/** By exit id. */
export const hintsOf = ({ hints = {} }: Calibration): ReadonlyMap<string, HintWeights> =>
  new Map(Object.entries(hints));

/** Null if there is no hint, or if the exit predicts no token. */
export function agreementWith(hint: Hint | null, token: number): HintAgreement | null {
  if (hint === null || token < 0) return null;
  if (hint.token === token) return hint.isClear ? 'agreesClearly' : 'agrees';
  return hint.isClear ? 'contradictsClearly' : 'contradicts';
}

/** The prediction with the probability that the hint leaves it. */
export const hinted = (readout: Readout, hint: Hint | null, weights: HintWeights | undefined): Readout => {
  const agreement = agreementWith(hint, readout.token);
  if (agreement === null || weights === undefined) return readout;
  return { ...readout, confidence: raised(readout.confidence, weights[agreement]) };
};

/** A probability whose log-odds are raised by so many nats. */
export const raised = (probability: number, nats: number): number => 1 / (1 + Math.exp(-logOdds(probability) - nats));

/** A probability may round to 0 or 1. */
export function logOdds(probability: number): number {
  const bounded = Math.min(1 - 1e-6, Math.max(1e-6, probability));
  return Math.log(bounded / (1 - bounded));
}
