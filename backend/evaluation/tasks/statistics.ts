/** Paired comparisons of two ways of decoding on the same tasks. Pure; knows no model. */
import type { Verdict } from '../../../protocol/tasks.ts';
import { seededRandom } from '../../decoding/sampling/random.ts';
import { binomialTail } from '../calibration/promise.ts';
import type { Timed } from '../side-by-side.ts';

export interface Interval {
  readonly low: number;
  readonly high: number;
}

const resamples = 2000;
/** Of 95 %. */
const tail = 0.025;

/** The 95 % interval of a statistic of some items, by the percentiles of resamples of them (Efron 1979). Always the same for the same items. */
export function bootstrap<Item>(items: readonly Item[], statistic: (sample: readonly Item[]) => number): Interval {
  const random = seededRandom(1);
  const values: number[] = [];
  for (let i = 0; i < resamples; i++)
    values.push(statistic(items.map(() => items[Math.floor(random() * items.length)]!)));
  values.sort((a, b) => a - b);
  const at = (share: number): number => values[Math.min(values.length - 1, Math.floor(share * values.length))]!;
  return { low: at(tail), high: at(1 - tail) };
}

/** A score less another, task by task. */
export interface Difference extends Interval {
  readonly mean: number;
  /** Tasks that only the other way solved, and tasks that only this way solved. */
  readonly lost: number;
  readonly won: number;
  /** McNemar's exact test of these pairs, two-sided; 1 if there are none. */
  readonly p: number;
}

/**
 * Two tasks more, one lost and one won, keep the interval of few differences from being too short: without any, resamples would all
 * agree. Bonett and Price 2012 add them to paired proportions; Agresti and Min 2005 add half as much of each, which gives a shorter interval.
 * Resamples are drawn by place, so differences are sorted: the order in which answers were written does not matter.
 */
export function pairedDifference(scores: readonly number[], other: readonly number[]): Difference {
  const differences = scores.map((score, i) => score - other[i]!).sort((a, b) => a - b);
  const lost = differences.filter((each) => each < 0).length;
  const won = differences.filter((each) => each > 0).length;
  const p = Math.min(1, 2 * binomialTail(lost + won, Math.min(lost, won), 0.5));
  return { mean: mean(differences), ...bootstrap([...differences, -1, 1], mean), lost, won, p };
}

export function verdictOf({ low, high }: Interval, margin: number): Verdict {
  if (low > -margin) return 'not-worse';
  return high < -margin ? 'worse' : 'unclear';
}

/** How many times as fast as another way, a token: the ratio of totals, with the interval over texts. */
export function timesAsFast(
  pairs: readonly { readonly own: Timed; readonly other: Timed }[],
): Interval & { value: number } {
  const ratio = (sample: typeof pairs): number =>
    perToken(sample.map(({ other }) => other)) / perToken(sample.map(({ own }) => own));
  return { value: ratio(pairs), ...bootstrap(pairs, ratio) };
}

const perToken = (texts: readonly Timed[]): number =>
  sum(texts.map(({ seconds }) => seconds)) / sum(texts.map(({ tokens }) => tokens));

export const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
export const mean = (values: readonly number[]): number => sum(values) / values.length;
