/** Views of leaving with clear hints of the text: chances fitted on the full model's own text, for each exit with a direction of trust. */
import { chanceBy, type Trust, type TrustByExit, type TrustWeights } from '../../decoding/leaving/trust.ts';
import type { Position } from '../../decoding/leaving/observe.ts';
import { trustOf } from '../../exits/trust.ts';
import { mostRegret, type Promised } from '../../../protocol/options/promise.ts';
import type { ExitObservations } from './gates.ts';
import { fitLogistic } from './logistic.ts';
import { lossOf } from './promise.ts';

/** What TypeScript, Python and English have in common at several layers (docs/lab.md); a calibration has some hundred hints. */
const usual: TrustWeights = { always: -1, trust: 0.9, matched: 1, votes: 0.8 };
const spread: TrustWeights = { always: 1, trust: 0.5, matched: 0.5, votes: 0.5 };
/** Milliseconds of a dot product of the stream. */
export const millisecondsOfTrust = 0.02;

const inputsOf = (
  trust: number,
  { matched, votes }: { readonly matched: number; readonly votes: number },
): number[] => [1, trust, Math.log(matched), Math.log(votes)];
const listed = ({ always, trust, matched, votes }: TrustWeights): number[] => [always, trust, matched, votes];

/** An exit with a direction of trust. */
export interface TrustedExit {
  readonly exit: string;
  readonly stages: number;
  /** Its place among the observed exits. */
  readonly k: number;
  /** `[width + 1]`: see exits/trust.ts. */
  readonly direction: Float32Array;
}

/** What a calibration has found of an exit's trust. */
export interface FittedTrust {
  readonly exit: string;
  readonly direction: Float32Array;
  readonly weights: TrustWeights;
  /** As an exit of its own, which costs next to nothing and predicts clear hints alone. */
  readonly view: ExitObservations;
}

/** Fits the chance that a clear hint loses nothing under a promise. */
export function fitTrust(
  { exit, stages, direction, k }: TrustedExit,
  written: readonly Position[],
  promise: Promised,
): FittedTrust {
  const trusts = written.map(({ observations }) => trustOf(direction, observations[k]!.state));
  const rows = written.flatMap(({ hint }, i) =>
    hint?.isClear ? [{ x: inputsOf(trusts[i]!, hint), y: 1 - lossOf(promise, hint.regret) }] : [],
  );
  const [always, trust, matched, votes] = fitLogistic(rows, { expected: listed(usual), spread: listed(spread) });
  const weights = { always: always!, trust: trust!, matched: matched!, votes: votes! };
  const clear = written.map(({ hint }) => (hint?.isClear ? hint : null));
  return {
    exit,
    direction,
    weights,
    view: {
      exit: byHint(exit),
      stages,
      regret: clear.map((hint) => hint?.regret ?? mostRegret),
      confidence: clear.map((hint, i) => (hint ? chanceBy(weights, trusts[i]!, hint) : 0)),
      deferred: clear.map((hint) => Number(hint === null)),
      states: written.map(({ observations }) => observations[k]!.state),
      isHint: true,
    },
  };
}

/** The name of such a view. */
export const byHint = (exit: string): string => `${exit}, by a hint`;

/** Thresholds of views, as those of heads and least chances of hints. */
export function ruleOf(
  ofViews: Readonly<Record<string, number>>,
  fitted: readonly FittedTrust[],
): { readonly thresholds: Readonly<Record<string, number>>; readonly trust: TrustByExit } {
  const names = new Set(fitted.map(({ exit }) => byHint(exit)));
  const thresholds = Object.fromEntries(Object.entries(ofViews).filter(([name]) => !names.has(name)));
  const trust = new Map<string, Trust>();
  for (const { exit, direction, weights } of fitted) {
    const least = ofViews[byHint(exit)];
    if (least !== undefined) trust.set(exit, { direction, weights, least, isAlone: !(exit in thresholds) });
  }
  return { thresholds, trust };
}

/** The other way round. */
export const thresholdsOfViews = ({
  thresholds,
  trust,
}: {
  readonly thresholds: Readonly<Record<string, number>>;
  readonly trust: TrustByExit;
}): Readonly<Record<string, number>> => ({
  ...thresholds,
  ...Object.fromEntries([...trust].map(([exit, { least }]) => [byHint(exit), least])),
});
