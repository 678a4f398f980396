/** The statistics of a promise: the loss of a token under it, and the probability that text keeps it only by luck. Pure. */
import type { Brought, Figure } from '../../../protocol/brought.ts';
import { mostRegret, type Promised } from '../../../protocol/options/promise.ts';

export interface Guarantee {
  readonly promise: Promised;
  /** Probability that new text of the same kind keeps the promise. */
  readonly certainty: number;
}

/** From 0 to 1, from the regret of a token in nats, which is 0 if the token is the full model's own choice. */
export const lossOf = ({ measure }: Promised, regret: number): number =>
  measure === 'agreement' ? Number(regret > 0) : Math.min(regret, mostRegret) / mostRegret;

/** Of a token that chooses otherwise than the full model, in nats, on average (docs/lab.md). */
const usualRegret = 0.5;

/** The loss of many tokens together, from the nats that they lose together. */
export const lossOfMany = ({ measure }: Promised, regret: number): number =>
  regret / (measure === 'agreement' ? usualRegret : mostRegret);

/** The mean loss that a promise allows. */
export const allowedLoss = ({ measure, limit }: Promised): number =>
  measure === 'agreement' ? 1 - limit : limit / mostRegret;

/**
 * Probability of losses as small as these, or smaller, if their mean is larger than allowed: for agreement exactly, for regret by
 * `betChance`. Tokens are taken as independent.
 */
export const chanceOf = (promise: Promised, losses: ArrayLike<number>): number =>
  promise.measure === 'agreement'
    ? binomialTail(losses.length, Array.from(losses).filter((loss) => loss > 0).length, allowedLoss(promise))
    : betChance(allowedLoss(promise), losses);

/**
 * The same for any losses from 0 to 1, by betting (Waudby-Smith and Ramdas 2023, arXiv 2010.09686). A player bets on small losses, at odds
 * that are fair if the mean is exactly the allowed one. The player's capital then ever grows by a factor 1 ÷ p with probability at most p
 * (Ville). So the test may look after every token, and stop. It is tighter than Hoeffding's and Bentkus's bounds, since most losses are 0.
 */
function betChance(allowed: number, losses: ArrayLike<number>): number {
  const bet = newPlayers(allowed);
  let highest = 1;
  for (let i = 0; i < losses.length; i++) highest = Math.max(highest, bet(losses[i]!));
  return 1 / highest;
}

/**
 * Shares of the capital that are bet, each by a player of its own: the best share depends on the losses, which are not known in advance. These
 * two need a ninth to a sixth fewer tokens than four from 0.25 to 0.95 (simulated; mean losses from 0 to half of the allowed one).
 */
const stakes = [0.75, 0.9] as const;

/** Takes one loss after the other, and answers the mean capital of the players, who begin with 1 each. */
function newPlayers(allowed: number): (loss: number) => number {
  const capitals = stakes.map(() => 1);
  return (loss) => {
    const odds = (allowed - loss) / (1 - allowed);
    let sum = 0;
    for (const [s, stake] of stakes.entries()) sum += capitals[s]! *= 1 + stake * odds;
    return sum / stakes.length;
  };
}

/** Tokens without any loss that `chanceOf` needs to rule out, but for this probability, that the loss is larger than allowed. */
export function fewestTested(promise: Promised, chance: number): number {
  const allowed = allowedLoss(promise);
  if (allowed <= 0) return 0;
  return promise.measure === 'agreement'
    ? Math.ceil(Math.log(chance) / Math.log1p(-allowed))
    : fewestBets(allowed, chance);
}

/** The same of `betChance`: found by halving, for a strict promise needs millions of tokens. */
function fewestBets(allowed: number, chance: number): number {
  const rates = stakes.map((stake) => Math.log1p((stake * allowed) / (1 - allowed)));
  const isEnough = (tokens: number): boolean =>
    rates.reduce((sum, rate) => sum + Math.exp(tokens * rate), 0) * chance >= stakes.length;
  let [tooFew, enough] = [0, 1];
  while (!isEnough(enough)) [tooFew, enough] = [enough, 2 * enough];
  for (;;) {
    const middle = Math.floor((tooFew + enough) / 2);
    // Beyond 2⁵³ neighbours have no whole number between them.
    if (middle <= tooFew || middle >= enough) return enough;
    if (isEnough(middle)) enough = middle;
    else tooFew = middle;
  }
}

/** Tokens that judge a way of writing at least. */
export const fewestJudged = ({ promise, certainty }: Guarantee): number =>
  fewestBets(allowedLoss(promise), 1 - certainty);

/**
 * A way of writing that uses more than this share of the allowed loss would need too many tokens to be confirmed, so it is given up. Before it has
 * written this part of the text a single place may have gone wrong.
 */
const hopeless = { share: 0.9, part: 0.5 } as const;

/**
 * Whether a way of writing keeps a promise, from the regrets of the tokens that it has written so far; null: more text is needed. `most`:
 * the number of tokens at which the test ends.
 */
export function verdictOf(guarantee: Guarantee, regrets: readonly number[], most: number): 'kept' | 'broken' | null {
  const allowed = allowedLoss(guarantee.promise);
  const losses = regrets.map((regret) => lossOf(guarantee.promise, regret));
  const isEnough = losses.length >= fewestJudged(guarantee);
  const chance = 1 - guarantee.certainty;
  if (isEnough && betChance(allowed, losses) <= chance) return 'kept';
  const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  if (losses.length >= hopeless.part * most && mean > hopeless.share * allowed) return 'broken';
  // However little the rest loses.
  const rest = Array.from({ length: Math.max(0, most - losses.length) }, () => 0);
  return betChance(allowed, [...losses, ...rest]) > chance ? 'broken' : null;
}

/** Agreement and regret of the way in which a text was written, from the regrets of its tokens. */
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
