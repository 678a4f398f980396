/** Results over seeds, as people read them. */
import type { Spread } from './events.ts';

/** `3.618 ± 0.246`; only the mean if there was one seed. */
export const spreadText = ({ mean, deviation }: Spread, digits: number, seeds: number): string =>
  seeds < 2 ? mean.toFixed(digits) : `${mean.toFixed(digits)} ± ${deviation.toFixed(digits)}`;

/** A share as percent. */
export const inPercent = ({ mean, deviation }: Spread): Spread => ({ mean: 100 * mean, deviation: 100 * deviation });
