/**
 * Calibrates thresholds for exits with memories. A token that leaves is filled, and its filled entries change later tokens, so the full
 * model's own text cannot be compared token by token. Instead, the mode that is judged writes text, exits on probation as in use, and the
 * full model scores it.
 */
import type { Brought } from '../../../protocol/brought.ts';
import type { CalibrateEvent } from '../../../protocol/events.ts';
import type { Tokenizer } from '../../data/tokenizer/tokenizer.ts';
import { decode, type DecodeRequest } from '../../decoding/decode.ts';
import { regretsOf } from '../../decoding/prompts/reread.ts';
import { greedy } from '../../decoding/sampling/sampler.ts';
import { openSession, type Session } from '../../decoding/session.ts';
import { fastestLosing, fullPass, pricedCandidates, savedBy, type Costs, type Priced } from './calibration.ts';
import { findGates, type ExitObservations } from './gates.ts';
import { positionsWithin, type StagedModel } from '../../runtime/staged-model.ts';
import { largestBatch, type CalibrationRequest } from './calibration-texts.ts';
import { isJudged } from './calibration-time.ts';
import { allowedLoss, fewestJudged, judgedBy, verdictOf, type Guarantee } from './promise.ts';
import { leavingBy, usedBy, type Candidate } from './trial.ts';
import { ruleOf, type FittedTrust } from './trust.ts';

/**
 * Losses that are expected of the first candidate and, at most, of the last one ÷ the allowed loss. Losses are heavy-tailed, and what is
 * expected of some hundred hints is a guess, so text loses up to four times as much. In simulations (docs/lab.md) a candidate that is expected
 * to lose 0.05 of what is allowed is kept in 97 to 100 of 100 calibrations, one of 0.15 in 91 to 100, one of 0.3 in 72 to 96.
 */
const expectedLoss = { first: 0.1, most: 2.4 } as const;
/** With each candidate a token should take at most 1 ÷ this of the time that it takes with the one before: judging takes minutes. */
const step = 1.05;
/** A candidate is kept only if its own text is so much faster than that of the one kept so far: of bolder exits more texts have a wrong token. */
const leastGain = 1.03;
/** Milliseconds a token that a candidate saves at least, if the one kept so far saves `saved` of a token's time at full depth. */
export const leastSaved = (fullDepth: number, saved: number): number => fullDepth - (fullDepth - saved) / leastGain;
/**
 * Most tokens that a candidate may write, as a multiple of the number needed if none of them loses anything: the closer its loss is to the
 * allowed one, the more it needs.
 */
const patience = 5;
/** Tokens of a judged text. It is longer than texts at full depth, since its prompt takes long to read and losses of memories add up. */
const textTokens = 128;
/** Texts written at once after the first batch, which is large enough if nothing is lost: few, since some are not needed. */
const laterTexts = 4;
/** Candidates write behind the same prompts, so each is read once, as long as all that is remembered of them takes no more than this. */
const rememberedBytes = 2 ** 29;

/** A candidate that keeps the promise, with agreement and regret of the text by which it was judged. */
export type Judged = Candidate & Pick<Brought, 'agreement' | 'regret'>;

/** Text that a candidate has written: the regret of each token, and the milliseconds a token that were saved. */
interface Written {
  /** `slower`, `late`: it saves less than it must, or the time is over, before it was clear whether the promise is kept. */
  readonly verdict: 'kept' | 'broken' | 'slower' | 'late';
  readonly regrets: readonly number[];
  readonly saves: number;
}

/** Most texts by which a candidate is judged. */
export const mostJudgedTexts = (request: Guarantee): number => Math.ceil(mostJudged(request) / textTokens);
const mostJudged = (request: Guarantee): number => patience * fewestJudged(request);
/** Whether so many texts can prove that a candidate keeps the promise, if it loses nothing. */
export const canJudge = (texts: number, request: Guarantee): boolean => texts * textTokens >= fewestJudged(request);

export interface Judging {
  readonly tokenizer: Tokenizer;
  readonly staged: StagedModel;
  /** Exits, and their hints as exits of their own. */
  readonly observed: readonly ExitObservations[];
  /** By exit id, as in `observed`. */
  readonly hints: Candidate['hints'];
  readonly trust: readonly FittedTrust[];
  /** Of `observed`. */
  readonly costs: Costs;
  /** Beginnings of text from which no candidate was chosen, long enough for exits to prove themselves. */
  readonly prompts: readonly (readonly number[])[];
  /** Whether these are chats: see `SequenceOptions.learnedAnswers`. */
  readonly learnedAnswers: boolean;
  /** Whether this many more seconds are left, for a first candidate or for a bolder one. */
  readonly hasTime: (seconds: number, isFirst: boolean) => boolean;
}

export interface Judgement {
  /** Of the candidates that keep the promise in their own text, the boldest that is worth it; null if none does, or if there is too little text. */
  readonly kept: Judged | null;
  /** Whether the time ended before it was clear whether the next candidate keeps the promise. */
  readonly isLate: boolean;
  /** If none is kept: what the text of the most cautious one has shown. */
  readonly broken: Pick<Brought, 'agreement' | 'regret'> | null;
}

/**
 * The candidates in the order in which they are judged, each by a step faster than the one before, and the first than full depth, which takes
 * `full` milliseconds a token.
 */
export function ladderOf(priced: readonly Priced[], allowed: number, full: number): Priced[] {
  const ladder: Priced[] = [];
  const add = (one: Priced): void => {
    if (one.milliseconds * step <= (ladder.at(-1)?.milliseconds ?? full)) ladder.push(one);
  };
  const first = fastestLosing(expectedLoss.first * allowed, priced);
  if (first) add(first);
  priced
    .filter(({ loss }) => loss <= expectedLoss.most * allowed)
    .toSorted((a, b) => a.loss - b.loss)
    .forEach(add);
  return ladder;
}

/** Judges candidates by the text that they write. */
export async function* judgeWritten(
  on: Judging,
  request: CalibrationRequest,
  signal: AbortSignal,
): AsyncGenerator<CalibrateEvent, Judgement> {
  const { staged, observed, hints, trust, costs, prompts, learnedAnswers, hasTime } = on;
  const { promise } = request;
  const remembering = new Set(staged.exits.filter(({ remembers }) => remembers).map(({ id }) => id));
  if (!isJudged(request, remembering.size > 0) || prompts.length === 0)
    return { kept: null, isLate: false, broken: null };
  const most = Math.min(mostJudged(request), prompts.length * textTokens);
  const full = fullPass(costs);
  let lastTook = 0;
  let broken: Judgement['broken'] = null;
  const used = ({ thresholds }: Priced): string[] => usedBy(ruleOf(thresholds, trust));
  const priced = pricedCandidates(observed, costs, promise).filter((one) =>
    used(one).some((id) => remembering.has(id)),
  );
  const positions = positionsWithin(rememberedBytes, staged, true);
  const session = openSession(staged, { rows: Math.max(largestBatch, prompts.length), positions });
  const judge: Judge<CalibrateEvent, Priced, Weighed> = async function* (one, kept) {
    const isLate = (seconds: number): boolean => !hasTime(seconds, kept === null);
    if (isLate(lastTook)) return 'late';
    const started = performance.now();
    const { gates } = findGates(observed, costs, promise, one.thresholds);
    const candidate: Candidate = { ...ruleOf(one.thresholds, trust), gates, hints, remembers: true, learnedAnswers };
    yield { type: 'phase', phase: 'generate', detail: `text that leaves at ${used(one).join(' and ')}, with memory` };
    const verdict = (regrets: readonly number[]): Written['verdict'] | null =>
      isLate(0) ? 'late' : verdictOf(request, regrets, most);
    const ending: Ending = { verdict, isLate, least: leastSaved(full, kept?.saves ?? 0) };
    const text = yield* written({ ...on, session, most }, candidate, ending, signal);
    lastTook = (performance.now() - started) / 1000;
    if (text.verdict === 'broken' && kept === null) broken = judgedBy(text.regrets);
    if (text.verdict !== 'kept') return text.verdict;
    return { judged: { ...candidate, ...judgedBy(text.regrets) }, saves: text.saves };
  };
  try {
    const { kept, isLate } = yield* judgeInOrder(ladderOf(priced, allowedLoss(promise), full), judge);
    return { kept: kept?.judged ?? null, isLate, broken };
  } finally {
    session.dispose();
  }
}

/** A candidate that keeps the promise, with the milliseconds that its text saves a token. */
interface Weighed {
  readonly judged: Judged;
  readonly saves: number;
}

/**
 * Judges a candidate beside the one that is kept so far. `slower`: its own text is hardly faster, since exits that are bolder are wrong more
 * often, and then off for the rest of a text. `late`: the time ended before it was clear whether it keeps the promise.
 */
export type Judge<Event, One, Found extends object> = (
  one: One,
  kept: Found | null,
) => AsyncGenerator<Event, Found | 'broken' | 'slower' | 'late'>;

/**
 * Of the candidates that keep the promise, the boldest that is worth it. They are judged in a fixed order, the most cautious first, until
 * one fails, so that no correction for their number is needed; one that is skipped (`slower`) adds the allowed chance of error once more.
 */
export async function* judgeInOrder<Event, One, Found extends object>(
  candidates: readonly One[],
  judge: Judge<Event, One, Found>,
): AsyncGenerator<Event, { readonly kept: Found | null; readonly isLate: boolean }> {
  let kept: Found | null = null;
  for (const one of candidates) {
    const found: Found | 'broken' | 'slower' | 'late' = yield* judge(one, kept);
    if (found === 'slower') continue;
    if (found === 'late') return { kept, isLate: true };
    if (found === 'broken') break;
    kept = found;
  }
  return { kept, isLate: false };
}

/** In one session, and at most so many tokens of a candidate. */
interface JudgingInOne extends Judging {
  readonly session: Session;
  readonly most: number;
}

/** When a candidate has written enough. */
interface Ending {
  readonly verdict: (regrets: readonly number[]) => Written['verdict'] | null;
  /** Whether there is no time for so many seconds more. */
  readonly isLate: (seconds: number) => boolean;
  /** Milliseconds a token that it saves at least. */
  readonly least: number;
}

/**
 * Text written with a candidate, as soon as it is clear whether the promise is kept, or if its texts save less than `least` milliseconds a
 * token, or if it is late. If there is too little text to decide, the promise counts as broken.
 */
async function* written(
  { tokenizer, session, observed, costs, prompts, most }: JudgingInOne,
  candidate: Candidate,
  { verdict, isLate, least }: Ending,
  signal: AbortSignal,
): AsyncGenerator<CalibrateEvent, Written> {
  const regrets: number[] = [];
  const savings = new Map(observed.map(({ exit, stages }, k) => [exit, savedBy(costs, k, stages)]));
  let [saved, written] = [0, 0];
  const ended = (verdict: Written['verdict']): Written => ({ verdict, regrets, saves: saved / written });
  const firstTexts = Math.min(largestBatch, Math.ceil(most / patience / textTokens));
  let aText = 0;
  for (let done = 0; done < prompts.length && !isLate(laterTexts * aText);) {
    const started = performance.now();
    const batch = prompts.slice(done, done + (done === 0 ? firstTexts : laterTexts));
    done += batch.length;
    const texts = batch.map((): number[] => []);
    const request: DecodeRequest = {
      prompts: batch,
      maxTokens: textTokens,
      sampling: greedy,
      seed: 0,
      endOfText: tokenizer.eosIds,
      recordsEnd: true,
      stopStrings: [],
      candidates: 0,
      drafts: null,
      codec: tokenizer,
      ...leavingBy(candidate),
      checksAnew: true,
    };
    for await (const event of decode(session, request)) {
      signal.throwIfAborted();
      if (event.type !== 'token') continue;
      const { sequence, id, exit } = event.token;
      texts[sequence]!.push(id);
      saved += savings.get(exit) ?? 0;
    }
    written += texts.flat().length;
    if (saved < least * written) {
      yield { type: 'progress', phase: 'generate', done: most, total: most, unit: 'tokens' };
      return ended('slower');
    }
    const { prompts: beginnings, ...how } = request;
    const judged = beginnings.map((prompt, i) => ({ prompt, text: texts[i]! }));
    for await (const ofText of regretsOf(session, how, judged)) {
      regrets.push(...ofText);
      const found = verdict(regrets);
      const shown = found === null ? Math.min(most, regrets.length) : most;
      yield { type: 'progress', phase: 'generate', done: shown, total: most, unit: 'tokens' };
      signal.throwIfAborted();
      if (found !== null) return ended(found);
    }
    aText = (performance.now() - started) / 1000 / batch.length;
  }
  yield { type: 'progress', phase: 'generate', done: most, total: most, unit: 'tokens' };
  return ended(isLate(laterTexts * aText) ? 'late' : 'broken');
}
