/**
 * Thresholds where memories fill what tokens skip. What such a token leaves behind changes what the next ones say, so that the full
 * model's own text judges nothing: the mode that is judged writes text, and the full model scores it in one exact pass.
 */
import { setImmediate } from 'node:timers/promises';
import type { Brought } from '../../protocol/brought.ts';
import type { CalibrateEvent } from '../../protocol/events.ts';
import type { Tokenizer } from '../data/tokenizer.ts';
import { decode, type DecodeRequest } from '../decoding/decode.ts';
import { regretsOf } from '../decoding/regret.ts';
import { greedy } from '../decoding/sampler.ts';
import { openSession } from '../decoding/session.ts';
import { likely, type Costs } from './calibration.ts';
import { findGates, type Heard } from './gates.ts';
import type { StagedModel } from '../runtime/staged-model.ts';
import { largestBatch, newTokens, type Asked } from './calibration-texts.ts';
import { allowedLoss, chanceOf, fewestTested, judgedBy, lossOf } from './promise.ts';
import { leavingBy, type Candidate } from './trial.ts';

/** Candidates are looked for with such shares of the loss that is allowed, one after another: memories add a loss of their own. */
const shares = [0.6, 0.3, 0.1];
/** Candidates of each share, at most. */
const perShare = 2;
const tries = shares.length * perShare;

/** With what the text says that was written with it. */
export type Judged = Candidate & Pick<Brought, 'agreement' | 'regret'>;

export interface Judging {
  readonly tokenizer: Tokenizer;
  readonly staged: StagedModel;
  readonly heard: readonly Heard[];
  readonly costs: Costs;
  /** Beginnings of texts that chose nothing yet. */
  readonly prompts: readonly (readonly number[])[];
  /** Whether this many more seconds are left. */
  readonly hasTime: (seconds: number) => boolean;
}

/**
 * The candidates that keep the promise in text that they have written; none where none does, or text or time is too little. Each is
 * tested alone, and that several may be is corrected for (Bonferroni), so that it does not matter that all write the same beginnings on.
 */
export async function* judgeWritten(
  on: Judging,
  asked: Asked,
  signal: AbortSignal,
): AsyncGenerator<CalibrateEvent, Judged[]> {
  const { staged, heard, costs, prompts, hasTime } = on;
  const { promise } = asked;
  const allowed = allowedLoss(promise);
  const chance = (1 - asked.certainty) / tries;
  const tokens = Math.max(Math.ceil(asked.tokens / 2), fewestTested(promise, chance));
  const remembering = new Set(staged.exits.filter(({ remembers }) => remembers).map(({ id }) => id));
  if (remembering.size === 0 || allowed <= 0 || prompts.length * newTokens < tokens) return [];
  const tried = new Set<string>();
  let longest = 0;
  for (const share of shares) {
    const passed: Judged[] = [];
    for (const { thresholds } of likely(heard, costs, promise, share * allowed).slice(0, perShare)) {
      const places = Object.keys(thresholds);
      const key = JSON.stringify(thresholds);
      if (tried.has(key) || !places.some((exit) => remembering.has(exit))) continue;
      tried.add(key);
      if (!hasTime(longest)) return passed;
      const started = performance.now();
      const candidate: Candidate = {
        thresholds,
        gates: findGates(heard, costs, promise, thresholds).gates,
        remembers: true,
      };
      yield { type: 'phase', phase: 'generate', detail: `text that leaves at ${places.join(' and ')}, with memory` };
      const isBroken = (regrets: readonly number[]): boolean => {
        const losses = regrets.map((regret) => lossOf(promise, regret));
        // However little the rest of the text loses.
        const rest = Array.from({ length: Math.max(0, tokens - losses.length) }, () => 0);
        return !hasTime(0) || chanceOf(promise, [...losses, ...rest]) > chance;
      };
      const regrets = yield* written(on, candidate, tokens, isBroken, signal);
      longest = Math.max(longest, (performance.now() - started) / 1000);
      if (regrets === null) continue;
      passed.push({ ...candidate, ...judgedBy(regrets) });
    }
    if (passed.length > 0) return passed;
  }
  return [];
}

/** Regrets of text written so; null where there is too little, or as soon as it is broken off. */
async function* written(
  { tokenizer, staged, prompts }: Judging,
  candidate: Candidate,
  tokens: number,
  isBroken: (regrets: readonly number[]) => boolean,
  signal: AbortSignal,
): AsyncGenerator<CalibrateEvent, number[] | null> {
  const regrets: number[] = [];
  for (let done = 0; regrets.length < tokens;) {
    const batch = prompts.slice(
      done,
      done + Math.min(largestBatch / 2, Math.ceil((tokens - regrets.length) / newTokens)),
    );
    done += batch.length;
    if (batch.length === 0) return null;
    const texts = batch.map((): number[] => []);
    const request: DecodeRequest = {
      prompts: batch,
      maxTokens: newTokens,
      sampling: greedy,
      seed: 0,
      endOfText: tokenizer.eosIds,
      recordsEnd: true,
      stopStrings: [],
      candidates: 0,
      drafts: null,
      codec: tokenizer,
      ...leavingBy(candidate),
    };
    const session = openSession(staged);
    try {
      for await (const event of decode(session, request)) {
        if (event.type === 'token') texts[event.token.sequence]!.push(event.token.id);
        signal.throwIfAborted();
      }
    } finally {
      session.dispose();
    }
    for (const [i, text] of texts.entries()) {
      regrets.push(...(await regretsOf(staged, batch[i]!, text)));
      yield {
        type: 'progress',
        phase: 'generate',
        done: Math.min(tokens, regrets.length),
        total: tokens,
        unit: 'tokens',
      };
      await setImmediate();
      signal.throwIfAborted();
      if (isBroken(regrets)) return null;
    }
  }
  return regrets;
}
