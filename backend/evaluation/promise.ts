/** What a promise takes: the loss of a token under it, and how likely text is that keeps it by luck alone. Pure. */
import type { Brought, Figure } from '../../protocol/brought.ts';
import { mostRegret, type Promised } from '../../protocol/options-promise.ts';

/** From 0 to 1, from the regret of a token in nats, which is 0 where it is the full model's own choice. */
export const lossOf = ({ measure }: Promised, regret: number): number =>
  measure === 'agreement' ? Number(regret > 0) : Math.min(regret, mostRegret) / mostRegret;

/** The mean loss that a promise allows. */
export const allowedLoss = ({ measure, limit }: Promised): number =>
  measure === 'agreement' ? 1 - limit : limit / mostRegret;

/**
 * How likely such losses are, or less, where their mean is larger than allowed. Of agreement that is exact. Of regret it is a test by
 * betting (Waudby-Smith and Ramdas 2023, arXiv 2010.09686): who bets on small losses, at odds that are fair where the mean is just
 * what is allowed, multiplies a capital by 1 ÷ p at any time with probability p at most (Ville). It is tighter than Hoeffding's and
 * Bentkus's bounds, since most losses are 0. Tokens are taken as independent.
 */
export function chanceOf(promise: Promised, losses: ArrayLike<number>): number {
  const most = allowedLoss(promise);
  if (promise.measure === 'agreement')
    return binomialTail(losses.length, Array.from(losses).filter((loss) => loss > 0).length, most);
  const capitals = Float64Array.from(stakes, () => 1);
  let highest = 1;
  for (let i = 0; i < losses.length; i++) {
    const odds = (most - losses[i]!) / (1 - most);
    let sum = 0;
    for (let s = 0; s < stakes.length; s++) {
      capitals[s]! *= 1 + stakes[s]! * odds;
      sum += capitals[s]!;
    }
    if (sum > highest * stakes.length) highest = sum / stakes.length;
  }
  return 1 / highest;
}

/** Shares of a capital that are bet, each by a better of its own: how much is best depends on losses that nobody knows before. */
const stakes = [0.25, 0.5, 0.75, 0.95] as const;

/** Tokens without any loss that `chanceOf` takes to rule out, but for such a chance, that more is lost than allowed. */
export function fewestTested(promise: Promised, chance: number): number {
  const most = allowedLoss(promise);
  if (most <= 0) return 0;
  if (promise.measure === 'agreement') return Math.ceil(Math.log(chance) / Math.log1p(-most));
  return Math.ceil(Math.log(stakes.length / chance) / Math.log1p((stakes.at(-1)! * most) / (1 - most)));
}

/** What a text says of the way in which it was written, from the regrets of its tokens. */
export const judgedBy = (regrets: ArrayLike<number>): Pick<Brought, 'agreement' | 'regret'> => ({
  agreement: figureOf(Array.from(regrets, (regret) => Number(regret === 0))),
  regret: figureOf(Array.from(regrets)),
});

function figureOf(values: readonly number[]): Figure {
  const n = values.length;
  const value = values.reduce((sum, each) => sum + each, 0) / n;
  const squares = values.reduce((sum, each) => sum + (each - value) ** 2, 0);
  return { value, error: n > 1 ? Math.sqrt(squares / (n * (n - 1))) : Infinity };
}

/** P(Binomial(n, p) ≤ x): how likely so few errors are if the true rate is p. */
export function binomialTail(n: number, x: number, p: number): number {
  if (p <= 0) return 1;
  if (x >= n) return 1;
  let logTerm = n * Math.log1p(-p);
  let sum = Math.exp(logTerm);
  for (let k = 1; k <= x; k++) {
    logTerm += Math.log((n - k + 1) / k) + Math.log(p) - Math.log1p(-p);
    sum += Math.exp(logTerm);
  }
  return Math.min(1, sum);
}
