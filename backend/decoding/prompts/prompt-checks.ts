/** Whether the full model agrees with exits within a prompt: see probation.ts. */
import { textBeforeGap, type FimTokens } from '../../data/prompts/fim.ts';
import { hintsBehind, type Hint } from '../../data/hints.ts';
import type { ExitPoint, Readout, StagedModel } from '../../runtime/staged-model.ts';
import type { KvCache } from '../cache/kv-cache.ts';
import { agreementWith, hinted, type HintWeights } from '../leaving/hints.ts';
import { leaves, type Policy } from '../leaving/policy.ts';
import { doubtful, type Check } from '../leaving/probation.ts';
import { chanceOfHint, type TrustByExit } from '../leaving/trust.ts';

/** What an exit expects at a position. */
interface Guess extends Omit<Check, 'isRight'> {
  readonly token: number;
}

/**
 * Of the tokens of a prompt from `from` up to `to`, which row `row` of the cache has run, the exits that `isAsked` names. The full model is
 * asked only where an exit, or a hint that is trusted, expects another token than the one that follows; otherwise it is taken to
 * agree.
 */
export async function checksOf(
  model: StagedModel,
  cache: KvCache,
  row: number,
  prompt: readonly number[],
  { from, to }: { readonly from: number; readonly to: number },
  {
    policy,
    hints,
    trust,
    fim = null,
    isAsked,
  }: {
    readonly policy: Policy;
    readonly hints?: ReadonlyMap<string, HintWeights>;
    readonly trust?: TrustByExit;
    /** The model's tokens for filling in. */
    readonly fim?: FimTokens | null;
    readonly isAsked: (exit: ExitPoint) => boolean;
  },
): Promise<Check[]> {
  const guesses: Guess[] = [];
  const given = hints?.size || trust?.size ? hintsWithin(prompt, { from, to }, fim) : [];
  for (const [k, exit] of model.exits.entries()) {
    const trusted = trust?.get(exit.id);
    for (const [n, hint] of trusted ? given.entries() : []) {
      const position = from + n + 1;
      if (!hint?.isClear || position >= prompt.length) continue;
      const chance = chanceOfHint(trusted!, cache.state(k, row, position - 1), hint);
      const what = { token: hint.token, confidence: chance, isSure: true, agreesClearly: true };
      if (chance >= trusted!.least) guesses.push({ exit: exit.id, position, ...what });
    }
  }
  const earlier = Array.from({ length: to - from }, (): Readout[] => []);
  for (const [k, exit] of model.exits.slice(0, -1).entries()) {
    if (!isAsked(exit)) continue;
    const [read] = await cache.read(k, [row], [to - from], { logits: false, ends: [to] });
    for (const [n, readout] of read!.readouts.entries()) {
      const position = from + n + 1;
      const { token, confidence } = readout;
      const [hint, weights] = [given[n] ?? null, hints?.get(exit.id)];
      const isSure = leaves(policy, exit.id, hinted(readout, hint, weights), earlier[n]!);
      const agreesClearly = weights !== undefined && agreementWith(hint, token) === 'agreesClearly';
      const isGuess = isSure || (token >= 0 && confidence >= doubtful);
      if (isGuess && position < prompt.length)
        guesses.push({ exit: exit.id, position, token, confidence, isSure, agreesClearly });
      earlier[n]!.push(readout);
    }
  }
  // Hints and heads by position, so that what they show is the same however the prompt comes in pieces.
  guesses.sort((a, b) => a.position - b.position);
  const isDisputed = ({ position, token }: Guess): boolean => token !== prompt[position];
  const disputed = [...new Set(guesses.filter(isDisputed).map(({ position }) => position))];
  const read = await cache.readAt(
    model.exits.length - 1,
    row,
    disputed.map((position) => position - 1),
  );
  const said = new Map(disputed.map((position, i) => [position, read[i]!.token]));
  return guesses.map(({ token, ...guess }) => ({
    ...guess,
    isRight: token === (said.get(guess.position) ?? prompt[guess.position]),
  }));
}

/**
 * The hint for the token behind each token from `from` up to `to`, as a text behind the prompt gets hints: in a prompt with a gap, tokens
 * up to the sign of the middle get none, and the text behind the gap gives none.
 */
function hintsWithin(
  prompt: readonly number[],
  { from, to }: { readonly from: number; readonly to: number },
  fim: FimTokens | null,
): (Hint | null)[] {
  const before = textBeforeGap(prompt, fim);
  const removed = prompt.length - before.length;
  const first = Math.min(to, Math.max(from, removed === 0 ? 0 : prompt.lastIndexOf(fim!.middle) + 1));
  const none = Array.from({ length: first - from }, () => null);
  if (first === to) return none;
  return [...none, ...hintsBehind(before.slice(0, to - removed), first - removed)];
}
