/**
 * Calibrated exits are on probation in every text, since it may be of another kind than the text by which they were calibrated. An exit is not
 * asked where it contradicts the full model at the end of the prompt about as often as its probabilities allow (prompt-checks.ts), or less
 * often if the prompt has many tokens that its shortlist lacks: text of its own kind it knows better than that. Elsewhere the full model is
 * asked for the tokens of which the exit is sure. Once it has agreed often enough, in the prompt or in the text, the exit decides, and the
 * full model checks some tokens. The more of the prompt is strange to an exit, the more often it must have agreed. Exits that learned only
 * answers of chats are not compared in the prompt. What agrees with a clear hint of the text (hints.ts) is right in text of any kind, so
 * there the exit decides at once, and the full model checks some tokens. What is decided of a token depends only on tokens at least `lag`
 * before it, so that it is the same whichever tokens are decided together.
 */
import { shortlistOf } from '../../exits/spec.ts';
import type { ExitPoint } from '../../runtime/staged-model.ts';

/** Tokens; also the most drafts in a block of such a text. */
export const lag = 8;
/** Tokens at the end of a prompt by which exits are judged before the text begins. */
export const judgedTokens = 192;
/** Checks that must have been right before an exit decides, in a prompt without strange tokens. */
const proofs = 8;
/**
 * By how many that rises for each tenth of the prompt that is strange; behind a prompt of which more than 13 % is strange, an exit is not
 * asked. Right checks in a docstring say little of the code behind it: by exits of TypeScript, a quarter to a half of the large errors in
 * functions of Python are left (docs/lab.md).
 */
const riseByTenth = 18;
/** Right checks that a wrong one outweighs. */
const weight = 16;
/** Right checks beyond which they count no more, and the shortage of them from which an exit is not asked any more. */
const most = 32;
/** An exit that decides is checked at one token in this number. */
const every = 16;
/** From this probability on what an exit expects within a prompt is compared with the full model. */
export const doubtful = 0.4;
/**
 * Contradictions within a prompt ÷ those that the exit's probabilities allow: 0.4 to 0.6 in text of its kind, 1.1 in another language
 * (medians; docs/lab.md). A single one is chance.
 */
const mostContradictions = 0.9;
/** By how much that falls for each tenth of the prompt that is strange: 3 % of text of an exit's kind is, 10 to 11 % of another language. */
const fallByTenth = 0.3;
/** Standard deviations of their number that are chance, too. */
const chance = 0.25;
/** Shorter prompts count as this long: a few tokens say little. */
const fewestTokens = 32;

/** Whether the full model agreed with what an exit expected. */
export interface Check {
  readonly exit: string;
  /** Of the token in its row. */
  readonly position: number;
  /** The exit's probability of what it expected. */
  readonly confidence: number;
  /** Whether the token would have left there. */
  readonly isSure: boolean;
  /** Whether it expected what a clear hint of the text says; see hints.ts. */
  readonly agreesClearly: boolean;
  readonly isRight: boolean;
}

/** `off`: it is not asked any more in this text; `checked`: if it is sure of a token, the full model decides; `decides`: it does. */
export type Standing = 'off' | 'checked' | 'decides';

export interface Probation {
  /**
   * Of an exit, at the token at `index` of the text, for predictions that agree with a clear hint of the text or for all others. An exit
   * that is off stays off.
   */
  standing(exit: ExitPoint, index: number, agreesClearly: boolean): Standing;
  /** Whether so much of the prompt is strange to an exit that no number of checks would let it decide. */
  isStrange(exit: ExitPoint): boolean;
  /** The full model decided the token at `index` of the text, of which the exit was sure; in the order of the text. */
  checked(exit: string, index: number, what: Pick<Check, 'confidence' | 'agreesClearly' | 'isRight'>): void;
  /** Adds checks within the prompt. */
  judged(checks: readonly Check[]): void;
}

/** What the checks of an exit have shown so far. They are added up as they come, since an exit is asked at every token. */
interface Shown {
  /** Of all checks, how many were looked at. */
  seen: number;
  /** Of the prompt. */
  readonly strange: number;
  /** Within the prompt: contradictions, and how many its probabilities allow. */
  contradictions: number;
  allowed: number;
  /** Checks at which it was sure and agreed with a hint, and the others. */
  readonly agreeing: Scored[];
  readonly sure: Scored[];
}

/** A check, with the score behind it; one of `-most` or less stays. */
interface Scored {
  readonly position: number;
  readonly score: number;
}

/** `checks`: those of the prompt's row so far, in its order; further ones are added. */
export function newProbation(prompt: readonly number[], checks: Check[]): Probation {
  const known = new Map<string, Shown>();
  const shownBy = (exit: ExitPoint): Shown => {
    let shown = known.get(exit.id);
    if (!shown) {
      shown = { seen: 0, strange: strangeShare(exit, prompt), contradictions: 0, allowed: 0, agreeing: [], sure: [] };
      known.set(exit.id, shown);
    }
    while (shown.seen < checks.length) {
      const one = checks[shown.seen++]!;
      if (one.exit === exit.id && one.position >= prompt.length - judgedTokens) add(shown, one, prompt.length);
    }
    return shown;
  };
  const proofsOf = ({ strange }: Shown): number => proofs + 10 * riseByTenth * strange;
  return {
    isStrange: (exit) => proofsOf(shownBy(exit)) > most,
    standing(exit, index, agreesClearly) {
      const shown = shownBy(exit);
      const needed = agreesClearly ? 0 : proofsOf(shown);
      if (!agreesClearly && (needed > most || contradicts(shown))) return 'off';
      // What the prompt shows is known before the text begins.
      const settled = Math.max(prompt.length, prompt.length + index - lag);
      const scored = agreesClearly ? shown.agreeing : shown.sure;
      const score = scored.findLast(({ position }) => position < settled)?.score ?? 0;
      if (score <= -most) return 'off';
      return score >= needed && (index + 1) % every !== 0 ? 'decides' : 'checked';
    },
    checked(exit, index, what) {
      checks.push({ exit, position: prompt.length + index, isSure: true, ...what });
    },
    judged: (further) => void checks.push(...further),
  };
}

function add(
  shown: Shown,
  { position, confidence, isSure, agreesClearly, isRight }: Check,
  promptTokens: number,
): void {
  if (position < promptTokens) {
    shown.allowed += 1 - confidence;
    if (!isRight) shown.contradictions++;
  }
  if (!isSure) return;
  const scored = agreesClearly ? shown.agreeing : shown.sure;
  const before = scored.at(-1)?.score ?? 0;
  const score = isRight ? Math.min(most, before + 1) : before - weight;
  scored.push({ position, score: before <= -most ? before : score });
}

/** Whether an exit contradicts the full model within a prompt nearly as often as its probabilities allow, and not by chance. */
function contradicts({ strange, contradictions, allowed }: Shown): boolean {
  const share = Math.max(0, mostContradictions - 10 * fallByTenth * strange);
  return contradictions > Math.max(1, share * allowed + chance * Math.sqrt(allowed));
}

/** Share of a prompt's tokens that an exit could not have said: its shortlist lacks them, and the text before, too, if it reads that. */
function strangeShare({ spec, readsUnlisted }: ExitPoint, prompt: readonly number[]): number {
  const list = shortlistOf(spec);
  if (!list) return 0;
  const listed = new Set(list);
  const unlisted = prompt.filter((id) => !listed.has(id));
  return (readsUnlisted ? new Set(unlisted).size : unlisted.length) / Math.max(fewestTokens, prompt.length);
}
