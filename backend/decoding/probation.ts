/**
 * Calibrated exits are on probation in every text, since it may be of another kind than the text by which they were calibrated. An exit is not
 * asked where the prompt has many tokens that its shortlist lacks. Elsewhere the full model still decides the first tokens of which the exit
 * is sure. Once it has agreed often enough, the exit decides, and the full model checks some tokens. What is decided of a token depends
 * only on tokens at least `lag` before it, so that it is the same whichever tokens are decided together.
 */
import type { ExitPoint } from '../runtime/staged-model.ts';
import type { ExitSpec } from '../exits/spec.ts';

/** Tokens; also the most drafts in a block of such a text. */
export const lag = 8;
/** Checks that must have been right before an exit decides. */
const proofs = 4;
/** Right checks that a wrong one outweighs. */
const weight = 16;
/** Right checks beyond these count no more. */
const most = 24;
/** An exit that decides is checked at one token in this number. */
const every = 16;
/** Share of a prompt that a shortlist may lack; it lacks 7 to 9 % of text like that of which it was made, 15 % of another language. */
const mostLacking = 0.12;
/** Shorter prompts count as this long: a few tokens say little. */
const fewestTokens = 32;

interface Check {
  /** Place of the token in its text. */
  readonly index: number;
  readonly isRight: boolean;
}

export interface Probation {
  /** Whether an exit is asked in this text at all. */
  asks(exit: ExitPoint): boolean;
  /** Whether an exit decides the token at `index` of the text, if it is sure of it; otherwise the full model does, and `checked` is called. */
  mayDecide(exit: string, index: number): boolean;
  /** The full model decided a token of which the exit was sure; in the order of the text. */
  checked(exit: string, check: Check): void;
}

export function newProbation(prompt: readonly number[]): Probation {
  const asked = new Map<string, boolean>();
  const checks = new Map<string, Check[]>();
  return {
    asks({ id, spec }) {
      const known = asked.get(id) ?? knows(spec, prompt);
      asked.set(id, known);
      return known;
    },
    mayDecide: (exit, index) => index % every !== 0 && standing(checks.get(exit) ?? [], index - lag) >= proofs,
    checked(exit, check) {
      const own = checks.get(exit);
      if (own) own.push(check);
      else checks.set(exit, [check]);
    },
  };
}

/** Right checks before a place, less those that wrong ones outweigh. */
function standing(checks: readonly Check[], before: number): number {
  let score = 0;
  for (const { index, isRight } of checks) {
    if (index >= before) break;
    score = isRight ? Math.min(most, score + 1) : score - weight;
  }
  return score;
}

/** Whether a prompt is of the kind of text of which an exit's shortlist was made; true of an exit without one. */
function knows(spec: ExitSpec | null, prompt: readonly number[]): boolean {
  if (spec?.head.kind !== 'shortlist') return true;
  const listed = new Set(spec.head.tokens);
  const lacking = prompt.filter((id) => !listed.has(id)).length;
  return lacking <= mostLacking * Math.max(fewestTokens, prompt.length);
}
