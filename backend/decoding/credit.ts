/**
 * Whether it pays to read an exit for drafts, by what its readings have brought of late, whatever they said: an account a exit, in
 * tokens. Knows neither model nor milliseconds.
 */

export interface Credit {
  /** Tokens' worth that may still be spent on this exit; below 0 it is not asked. */
  balance(exit: string): number;
  /** Reading it, its drafts and their places took the time of this many tokens. */
  spent(exit: string, tokens: number): void;
  /** One of its drafts was right, which saved a token. */
  earned(exit: string): void;
  /** So many tokens were decided. */
  passed(tokens: number): void;
}

/** What an exit may cost before it was ever right. */
const initial = 0.5;
/** Of all time so much may be spent on exits that have not paid: a text may turn to what they know. */
const trialShare = 0.003;
/** What was earned long ago is no reason to go on. */
const most = 2;

export function newCredit(): Credit {
  const balances = new Map<string, number>();
  const balance = (exit: string): number => balances.get(exit) ?? initial;
  const add = (exit: string, tokens: number): void => void balances.set(exit, Math.min(most, balance(exit) + tokens));
  return {
    balance,
    spent: (exit, tokens) => add(exit, -tokens),
    earned: (exit) => add(exit, 1),
    passed(tokens) {
      for (const exit of balances.keys()) add(exit, trialShare * tokens);
    },
  };
}
