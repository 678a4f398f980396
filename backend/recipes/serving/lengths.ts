/** How long texts may become in the memory that is given for what they have computed. */
import { userError } from '../../../protocol/errors.ts';
import type { ServeOptions } from '../../../protocol/options/options.ts';
import { positionBytes, type StagedModel } from '../../runtime/staged-model.ts';

/** Positions that slots have room for: this many, or twice, four times … as many. */
const smallest = 256;

/**
 * The number of tokens that each text may have.
 * @throws UserError if not even short texts fit.
 */
export function servedContext(
  model: Pick<StagedModel, 'spec' | 'stages'>,
  { parallel, cacheMegabytes, precision }: Pick<ServeOptions, 'parallel' | 'cacheMegabytes' | 'precision'>,
): number {
  const each = positionBytes(model, precision === 'exact');
  const fits = (positions: number): boolean => parallel * positions * each <= cacheMegabytes * 2 ** 20;
  if (!fits(smallest)) {
    const needed = Math.ceil((parallel * smallest * each) / 2 ** 20);
    throw userError(
      'bad-argument',
      `${parallel} texts of ${smallest} tokens need ${needed} MB, but --cache-megabytes is ${cacheMegabytes}.`,
      'Give more, or a smaller --parallel.',
    );
  }
  let positions = smallest;
  while (positions < model.spec.contextLength && fits(2 * positions)) positions *= 2;
  return Math.min(positions, model.spec.contextLength);
}
