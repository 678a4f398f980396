/**
 * Decides whether reading an exit for drafts pays, by what its readouts have saved lately: an account for each exit, in tokens. Knows
 * neither model nor milliseconds.
 */

export interface Credit {
  /** Cost, in tokens, that may still be spent on this exit; below 0 it is not read. */
  balance(exit: string): number;
  /** Reading it, its drafts and their places took the time of this many tokens. */
  spent(exit: string, tokens: number): void;
  /** One of its drafts was right, which saved a token. */
  earned(exit: string): void;
  /** This number of tokens was decided. */
  passed(tokens: number): void;
}

/** What an exit may cost before it was ever right. */
const initial = 0.5;
/** Share of the time that may be spent on exits that have not paid: the text may change to one that they predict well. */
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
