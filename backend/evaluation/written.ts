/**
 * Thresholds where memories fill what tokens skip. What such a token leaves behind changes what the next ones say, so that the full
 * model's own text judges nothing: the mode that is judged writes text, and the full model scores it in one exact pass.
 */
import { setImmediate } from 'node:timers/promises';
import type { CalibrateEvent } from '../../protocol/events.ts';
import type { Tokenizer } from '../data/tokenizer.ts';
import { decode, type DecodeRequest } from '../decoding/decode.ts';
import { mean, regretsOf } from '../decoding/regret.ts';
import { greedy } from '../decoding/sampler.ts';
import { openSession } from '../decoding/session.ts';
import { binomialTail, fewestTokens, likely, type Costs } from './calibration.ts';
import { findGates, type Heard } from './gates.ts';
import type { StagedModel } from '../runtime/staged-model.ts';
import { largestBatch, newTokens, type Promised } from './calibration-texts.ts';
import { leavingBy, type Candidate } from './trial.ts';

/** Candidates are looked for with such shares of the errors that are allowed, one after another: memories add errors of their own. */
const shares = [0.6, 0.3, 0.1];
/** At most so many candidates of each share. */
const perShare = 2;
const tries = shares.length * perShare;

export interface Judged extends Candidate {
  /** On the text that was written with it. */
  readonly agreement: number;
  /** Nats a token. */
  readonly regret: number;
}

export interface Judging {
  readonly tokenizer: Tokenizer;
  readonly staged: StagedModel;
  readonly heard: readonly Heard[];
  readonly final: readonly number[];
  readonly costs: Costs;
  /** Beginnings of texts that chose nothing yet. */
  readonly prompts: readonly (readonly number[])[];
  /** Whether so many more seconds are there. */
  readonly hasTime: (seconds: number) => boolean;
}

/**
 * The candidates that keep the promise in text that they have written; none where none does, or text or time is too little. Each is
 * tested alone, and that several may be is corrected for (Bonferroni), so that it does not matter that all write the same beginnings on.
 */
export async function* judgeWritten(
  on: Judging,
  promise: Promised,
  signal: AbortSignal,
): AsyncGenerator<CalibrateEvent, Judged[]> {
  const { staged, heard, final, costs, prompts, hasTime } = on;
  const certainty = 1 - (1 - promise.certainty) / tries;
  const tokens = Math.max(Math.ceil(promise.tokens / 2), fewestTokens({ agreement: promise.agreement, certainty }));
  const remembering = new Set(staged.exits.filter(({ remembers }) => remembers).map(({ id }) => id));
  if (remembering.size === 0 || promise.agreement >= 1 || prompts.length * newTokens < tokens) return [];
  const tried = new Set<string>();
  let longest = 0;
  for (const share of shares) {
    const passed: Judged[] = [];
    for (const { thresholds } of likely(heard, final, costs, 1 - share * (1 - promise.agreement)).slice(0, perShare)) {
      const places = Object.keys(thresholds);
      const key = JSON.stringify(thresholds);
      if (tried.has(key) || !places.some((exit) => remembering.has(exit))) continue;
      tried.add(key);
      if (!hasTime(longest)) return passed;
      const started = performance.now();
      const candidate: Candidate = {
        thresholds,
        gates: findGates(heard, final, costs, thresholds).gates,
        remembers: true,
      };
      yield { type: 'phase', phase: 'generate', detail: `text that leaves at ${places.join(' and ')}, with memory` };
      const regrets = yield* written(
        on,
        candidate,
        tokens,
        1 - promise.agreement,
        (1 - promise.certainty) / tries,
        signal,
      );
      longest = Math.max(longest, (performance.now() - started) / 1000);
      if (regrets !== null) {
        const agreement = regrets.filter((regret) => regret === 0).length / regrets.length;
        passed.push({ ...candidate, agreement, regret: mean(regrets) });
      }
    }
    if (passed.length > 0) return passed;
  }
  return [];
}

/** Regrets of text written so; null as soon as it is clear that too many tokens are not the full model's, or time is over. */
async function* written(
  { tokenizer, staged, prompts, hasTime }: Judging,
  candidate: Candidate,
  tokens: number,
  errors: number,
  chance: number,
  signal: AbortSignal,
): AsyncGenerator<CalibrateEvent, number[] | null> {
  const regrets: number[] = [];
  const isHopeless = (): boolean =>
    binomialTail(tokens, regrets.filter((regret) => regret > 0).length, errors) > chance || !hasTime(0);
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
      if (isHopeless()) return null;
    }
  }
  const wrong = regrets.filter((regret) => regret > 0).length;
  return binomialTail(regrets.length, wrong, errors) <= chance ? regrets : null;
}
