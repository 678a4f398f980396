/**
 * Chooses the values of an exit that are kept. Exits are independent, so each keeps its own best values: those with the lowest held-out
 * loss among all, the first included, that agree with the final exit at least as often as the first did.
 */
import type { ExitScore } from '../../protocol/events.ts';
import type { Origin, Progress } from '../checkpoint/checkpoint.ts';
import type { CheckpointWriter } from '../checkpoint/writer.ts';

/** How an evaluation is judged, and how better values are kept. */
export interface Keeping {
  /** The values with the lowest loss so far are the best. */
  loss(scores: readonly ExitScore[]): number;
  /** Writes the values that are now better than the kept ones. */
  keep(
    checkpoint: CheckpointWriter,
    parameters: ReadonlyMap<string, Float32Array>,
    now: Omit<Progress, 'origins'>,
    before: readonly ExitScore[],
  ): void;
}

/** Of a frozen model: each exit is kept for itself. */
export const eachExit: Keeping = {
  loss: meanLoss,
  keep(checkpoint, parameters, now, before) {
    const kept = checkpoint.saved();
    const improved = improvedExits(now.scores, kept.scores, before);
    if (improved.size > 0)
      checkpoint.saveExits(parametersOf(improved, parameters), withImproved(kept, improved, now, now.step));
  },
};

/** Ids of the exits that are better now than what is kept. */
export function improvedExits(
  now: readonly ExitScore[],
  kept: readonly ExitScore[],
  before: readonly ExitScore[],
): Set<string> {
  const of = (scores: readonly ExitScore[], id: string): ExitScore | undefined =>
    scores.find(({ exit }) => exit === id);
  const better = now.filter(({ exit, loss, agreement }) => {
    const earlier = of(kept, exit);
    return exit !== 'final' && loss < (earlier?.loss ?? Infinity) && agreement >= (of(before, exit)?.agreement ?? 0);
  });
  return new Set(better.map(({ exit }) => exit));
}

/** The progress if these exits' values are replaced by the current ones. */
export function withImproved(
  kept: Progress,
  improved: ReadonlySet<string>,
  now: Omit<Progress, 'origins'>,
  origin: Origin,
): Progress {
  const earlier = new Map(kept.scores.map((score) => [score.exit, score]));
  return {
    step: now.step,
    tokens: now.tokens,
    scores: now.scores.map((score) => (improved.has(score.exit) ? score : (earlier.get(score.exit) ?? score))),
    origins: { ...kept.origins, ...Object.fromEntries([...improved].map((exit) => [exit, origin])) },
  };
}

/** The parameters of some exits. */
export const parametersOf = (
  exits: ReadonlySet<string>,
  parameters: ReadonlyMap<string, Float32Array>,
): Map<string, Float32Array> => new Map([...parameters].filter(([name]) => exits.has(ownerOf(name))));

/** `exits.8.mlp.norm.weight` → `8:mlp`. */
const ownerOf = (name: string): string => name.split('.').slice(1, 3).join(':');

/** Mean held-out loss of the exits, without the final exit: the measure of "best". */
export function meanLoss(scores: readonly ExitScore[]): number {
  const losses = scores.filter(({ exit }) => exit !== 'final').map(({ loss }) => loss);
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}
