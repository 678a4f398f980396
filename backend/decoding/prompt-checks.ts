/** Whether the full model agrees with exits within a prompt: see probation.ts. */
import { hintsBehind } from '../data/hints.ts';
import type { ExitPoint, Readout, StagedModel } from '../runtime/staged-model.ts';
import type { KvCache } from './kv-cache.ts';
import { agreementWith, hinted, type HintWeights } from './hints.ts';
import { leaves, type Policy } from './policy.ts';
import { doubtful, type Check } from './probation.ts';
import { chanceOfHint, type TrustByExit } from './trust.ts';

/** What an exit expects at a position. */
interface Guess extends Omit<Check, 'isRight'> {
  readonly token: number;
}

/**
 * Of the tokens of a prompt from `from` up to `to`, the last that row `row` of the cache has run, the exits that `isAsked` names. The full
 * model is asked only where an exit, or a hint that is trusted, expects another token than the one that follows; otherwise it is taken to
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
    isAsked,
  }: {
    readonly policy: Policy;
    readonly hints?: ReadonlyMap<string, HintWeights>;
    readonly trust?: TrustByExit;
    readonly isAsked: (exit: ExitPoint) => boolean;
  },
): Promise<Check[]> {
  const guesses: Guess[] = [];
  const given = hints?.size || trust?.size ? hintsBehind(prompt.slice(0, to), from) : [];
  for (const [k, exit] of model.exits.entries()) {
    const trusted = trust?.get(exit.id);
    for (const [n, hint] of trusted ? given.entries() : []) {
      const position = from + n + 1;
      if (!hint?.isClear || position >= prompt.length) continue;
      const chance = chanceOfHint(trusted!, cache.state(k, row, to - position), hint);
      const what = { token: hint.token, confidence: chance, isSure: true, agreesClearly: true };
      if (chance >= trusted!.least) guesses.push({ exit: exit.id, position, ...what });
    }
  }
  const earlier = Array.from({ length: to - from }, (): Readout[] => []);
  for (const [k, exit] of model.exits.slice(0, -1).entries()) {
    if (!isAsked(exit)) continue;
    const [read] = await cache.read(k, [row], [to - from], { logits: false });
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
