/** How the learning rate and the exits' weights change over a run. Pure functions of how far the run is. */
import type { ExitWeights } from '../../protocol/options/notations.ts';

/**
 * The given learning rate. By default it falls with the model's width: a step of AdamW moves every weight by about the rate, so the more
 * weights a sum has, the more it moves (Yang et al. 2022, arXiv 2203.03466).
 */
export const learningRateOf = (
  { learningRate }: { readonly learningRate: number | null },
  { hidden }: { readonly hidden: number },
): number => learningRate ?? Math.min(largestUsualRate, rateTimesWidth / hidden);

/** By held-out agreement of default exits: 0.0005 is best for a width of 576 (SmolLM2-135M), 0.00015 to 0.0002 for 896 (Qwen2.5-0.5B). */
const rateTimesWidth = 0.18;
const largestUsualRate = 5e-4;

export interface LearningRateOptions {
  readonly learningRate: number;
  readonly finalLearningRate: number;
  readonly schedule: 'linear' | 'cosine' | 'constant';
  /** Share of the run over which the rate rises from 0. */
  readonly warmupFraction: number;
}

/**
 * Learning rate of update `update` (from 0) of `updates`: a straight rise during warm-up, then a fall to the final rate, which
 * the last update has. It never rises again: the usual rate of a wide model may be below the final one.
 */
export function learningRateAt(options: LearningRateOptions, update: number, updates: number): number {
  const { learningRate, finalLearningRate, schedule, warmupFraction } = options;
  const warmup = Math.min(updates, Math.ceil(updates * warmupFraction));
  if (update < warmup) return (learningRate * (update + 1)) / warmup;
  if (schedule === 'constant') return learningRate;
  const last = Math.min(learningRate, finalLearningRate);
  return between(learningRate, last, (update - warmup) / Math.max(1, updates - 1 - warmup), schedule);
}

/** Weight of each of `exits` exits at update `update` (from 0) of `updates`; a single weight applies to all. */
export function exitWeightsAt(schedule: ExitWeights, exits: number, update: number, updates: number): number[] {
  const of = (weights: readonly number[], exit: number): number => weights[weights.length === 1 ? 0 : exit]!;
  return Array.from({ length: exits }, (_, exit) =>
    schedule.kind === 'static'
      ? of(schedule.weights, exit)
      : between(of(schedule.from, exit), of(schedule.to, exit), update / Math.max(1, updates - 1), schedule.shape),
  );
}

function between(from: number, to: number, progress: number, shape: 'linear' | 'cosine'): number {
  const share = Math.min(1, progress);
  return from + (to - from) * (shape === 'linear' ? share : (1 - Math.cos(Math.PI * share)) / 2);
}
