/**
 * Leaving with a clear hint of the text (data/hints.ts): at a shallow exit the stream already says whether the text goes on as it did before,
 * long before it says how. So a token can leave there with the hint, and no head is read.
 */
import type { Calibration, StoredTrust, TrustWeights } from '../../checkpoint/calibration.ts';
import type { Hint } from '../../data/hints.ts';
import { trustOf } from '../../exits/trust.ts';
import { raised } from './hints.ts';
import type { Readout } from '../../runtime/staged-model.ts';

export type { TrustWeights };

/** When tokens leave at an exit with a clear hint. */
export interface Trust {
  /** `[width + 1]` of the stream at the exit: see exits/trust.ts. */
  readonly direction: Float32Array;
  readonly weights: TrustWeights;
  /** Least chance that the hint is right. */
  readonly least: number;
  /** Whether tokens leave there with hints alone, so that its head is not read. */
  readonly isAlone: boolean;
}

/** By exit id. */
export type TrustByExit = ReadonlyMap<string, Trust>;

/** The chance that a clear hint is what the full model would write. */
export const chanceOfHint = ({ direction, weights }: Trust, state: Float32Array, hint: Hint): number =>
  chanceBy(weights, trustOf(direction, state), hint);

/** The same of what a direction says of a stream. */
export function chanceBy(
  weights: TrustWeights,
  trust: number,
  { matched, votes }: Pick<Hint, 'matched' | 'votes'>,
): number {
  const { always, trust: trusted, matched: ofMatched, votes: ofVotes } = weights;
  const odds = always + trusted * trust + ofMatched * Math.log(matched) + ofVotes * Math.log(votes);
  return raised(0.5, Math.min(mostOdds, odds));
}

/** A chance is never quite 1. */
const mostOdds = 13;

/** The hint as a prediction of an exit. */
export const saidByHint = ({ token }: Hint, chance: number): Readout => ({
  token,
  confidence: chance,
  margin: 2 * chance - 1,
  entropy: -chance * Math.log(chance) - (1 - chance) * Math.log1p(-chance),
  candidates: [{ id: token, probability: chance }],
});

/** Whether the head of an exit is read in a text. */
export const isHeadRead = (
  { enabled, trust }: { readonly enabled: (exit: string) => boolean; readonly trust?: TrustByExit },
  exit: string,
): boolean => enabled(exit) && !trust?.get(exit)?.isAlone;

/** By exit id. */
export function trustOfCalibration({ thresholds, trust = {} }: Calibration): TrustByExit {
  const read = ([exit, { direction, weights, least }]: [string, StoredTrust]): [string, Trust] => {
    const bytes = Uint8Array.from(Buffer.from(direction, 'base64'));
    return [exit, { direction: new Float32Array(bytes.buffer), weights, least, isAlone: !(exit in thresholds) }];
  };
  return new Map(Object.entries(trust).map(read));
}

export const storedTrust = ({ direction, weights, least }: Trust): StoredTrust => ({
  direction: Buffer.from(direction.buffer, direction.byteOffset, direction.byteLength).toString('base64'),
  weights,
  least,
});
