/** First values of the exits' parameters. */
import type { TuneOptions } from '../../protocol/options.ts';
import { initialiseExit } from '../exits/initialise.ts';
import type { TuneParts } from './tune-parts.ts';

/** Copies of the backbone's parameters, or seeded noise. */
export const plainExits = (
  { exits, model }: TuneParts,
  { initialise, seed }: Pick<TuneOptions, 'initialise' | 'seed'>,
): Map<string, Float32Array> =>
  new Map(
    exits.flatMap((exit) => [
      ...initialiseExit(
        model.spec,
        exit,
        model.parameters,
        initialise === 'random' ? { kind: 'random', seed } : { kind: 'copy' },
      ),
    ]),
  );
