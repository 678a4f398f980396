/** Prefill of a prompt, piece by piece: its progress, the scores of its tokens, what exits predict, and requested vectors. */
import type { ExitOpinion } from '../../../protocol/trace.ts';
import type { ExitPoint, StagedModel } from '../../runtime/staged-model.ts';
import { tileTokens } from '../../runtime/ggml/tiles.ts';
import type { KvCache } from '../cache/kv-cache.ts';
import { readOpinions } from '../leaving/opinions.ts';
import { tellStates, type Pool } from './pooled.ts';
import { isHeadRead } from '../leaving/trust.ts';
import { judgedTokens, newProbation, type Probation } from '../leaving/probation.ts';
import { stoppingAt, type Stopping } from './prompt-exit.ts';
import { checksOf } from './prompt-checks.ts';
import { regretsAt } from './regret.ts';
import { newPromptScorer, type PromptScore, type PromptScorer } from './prompt-scores.ts';
import type { Row, Rows } from '../cache/rows.ts';
import type { SequenceOptions } from '../sequence.ts';

/** A prompt, and what was requested for it. */
export interface Prompt extends SequenceOptions {
  readonly prompt: readonly number[];
  /** How many of the most probable tokens are scored at each place of the prompt; null: none. */
  readonly scores: number | null;
  /** At its tokens from this one on every exit is read, for what it predicts of the next; null: at none. */
  readonly opinionsFrom?: number | null;
  /** Tokens whose regrets are requested: all but the last of them end the prompt. */
  readonly judged?: readonly number[] | null;
  /** What it computes is remembered for texts of the same scope alone. */
  readonly scope?: string;
  /**
   * Whether the text has the same bits whatever is remembered of its prompt: a few tokens behind a remembered beginning would be computed by
   * other kernels than a whole prompt is (`runtime/ggml/tiles.ts`).
   */
  readonly isRepeatable?: boolean;
  /** Called with the stream of the prompt's tokens. */
  readonly pool?: Pool | null;
}

export interface Reading<Request extends Prompt> {
  readonly request: Request;
  readonly row: Row;
  /** Tokens that its row had. */
  readonly known: number;
  /** Those of them that did not have to be read. */
  readonly remembered: number;
  readonly scorer: PromptScorer | null;
  /** Null if exits decide from the first token on. */
  readonly probation: Probation | null;
  readonly opinions: ExitOpinion[][];
  /** Which of its tokens stop at an exit. */
  readonly stopping: Stopping | null;
  /** Of the first tokens that are judged. */
  readonly regrets: number[];
  /** Tokens of the prompt that have been run and read, the remembered ones among them. */
  read: number;
  milliseconds: number;
}

/** What a prompt took that is read. */
export interface PromptRead {
  /** Tokens of the prompt that did not have to be read. */
  readonly remembered: number;
  /** What reading the others took. */
  readonly seconds: number;
  /** Of its second token, its third …; empty unless they were requested. */
  readonly scores: readonly PromptScore[];
  /** What every exit predicts behind each of the tokens at which exits were requested. */
  readonly opinions: readonly (readonly ExitOpinion[])[];
  /** Of the tokens that were judged. */
  readonly regrets: readonly number[];
}

/** Of a prompt that is scored each token gives a row of logits. */
const scoredTokens = 64;

/** Gives a prompt a row, which may already contain its beginning, and enters the rest. `contextLength`: most tokens of the text. */
export function beginReading<Request extends Prompt>(
  model: StagedModel,
  cache: KvCache,
  rows: Rows,
  request: Request,
  contextLength: number,
): Reading<Request> {
  const { prompt, scores, pool, codec, maxTokens, scope = '' } = request;
  const beginning = usesRemembered(request) ? prompt : [];
  const isAnew = judgesPrompt(request) && Boolean(request.checksAnew);
  // Scores and vectors are those of the whole model.
  const stopping = readsWhole(request) || pool ? null : stoppingAt(model, request.promptExit, prompt.length);
  const inFull = prompt.length - (stopping?.to ?? 0);
  const checked = judgesPrompt(request) && !isAnew ? Math.min(judgedTokens, inFull) : 0;
  const from = isAnew ? Math.max(0, prompt.length - judgedTokens) : readFrom(request);
  const leastRead = request.isRepeatable ? tileTokens : 0;
  const needs = { checked, leastRead, ...(from !== undefined && { readFrom: from }) };
  const row = rows.take(beginning, scope, Math.min(prompt.length + maxTokens, contextLength), needs);
  if (isAnew) row.checks = [];
  // A text that is only read again, to be explained, keeps what was compared.
  if (isAnew || (!judgesPrompt(request) && maxTokens > 0)) row.checkedFrom = Infinity;
  const known = cache.position(rows.at(row));
  cache.enter(rows.at(row), prompt.slice(known));
  // Fewer than are known: a row that was made exact again runs from where a memory had filled it, and one whose angles change by its new
  // length runs from its start.
  const remembered = cache.finished(rows.at(row));
  row.ids = [...prompt];
  const scorer = scores === null ? null : newPromptScorer(prompt, scores, codec);
  const probation = request.onProbation ? newProbation(prompt, row.checks) : null;
  const read = Math.min(remembered, from ?? Infinity);
  const found = { opinions: [], regrets: [] };
  return { request, row, known, remembered, scorer, probation, stopping, ...found, read, milliseconds: 0 };
}

/** Whether a remembered beginning of a prompt is of use: scores and vectors need all tokens. */
export const usesRemembered = ({ scores, pool }: Prompt): boolean => scores === null && !pool;

/** Tokens of a prompt that would have to be read if it began now. */
export const unreadOf = (rows: Rows, request: Prompt): number => {
  const { prompt, scope = '' } = request;
  return prompt.length - (usesRemembered(request) ? rows.known(prompt, scope) : 0);
};

/** Whether exits are compared with the full model within the prompt. */
export const judgesPrompt = ({
  onProbation,
  learnedAnswers,
}: Pick<SequenceOptions, 'onProbation' | 'learnedAnswers'>): boolean => Boolean(onProbation) && !learnedAnswers;

/** Whether the final exit is read at more than the last token of a prompt. */
const readsWhole = (request: Prompt): boolean =>
  request.scores !== null || readFrom(request) !== undefined || Boolean(request.pool && !request.pool.lastOnly);

/** The first token of a prompt that exits are read at; undefined if only its last one is. */
const readFrom = ({ prompt, judged, opinionsFrom }: Prompt): number | undefined =>
  judged ? prompt.length - judged.length : (opinionsFrom ?? undefined);

/**
 * Runs at most `limit` further tokens of a prompt, without other rows; all of the prompt has entered row `row` of the cache. Returns their
 * number.
 */
export async function readPiece(
  model: StagedModel,
  cache: KvCache,
  row: number,
  reading: Reading<Prompt>,
  limit: number,
): Promise<number> {
  const started = performance.now();
  const { request, scorer, probation, stopping, read } = reading;
  const { prompt, pool, opinionsFrom = null, judged = null } = request;
  const end = Math.min(prompt.length, read + (scorer ? Math.min(limit, scoredTokens) : limit));
  const enabled = [...model.exits.keys()].filter((k) => opinionsFrom !== null || request.enabled(model.exits[k]!.id));
  // Tokens of a prompt that stop at an exit have no stream behind the last layer.
  const fresh = request.checksAnew ? read : Math.max(read, reading.known);
  const judgedFrom = judgesPrompt(request)
    ? Math.max(fresh, prompt.length - judgedTokens, stopping?.to ?? 0)
    : Infinity;
  const lastOnly = !readsWhole(request) && end <= judgedFrom;
  await cache.runThrough(row, enabled, end, { lastOnly, stopping });
  // Between two places that were compared, no gap may count as compared.
  if (fresh < Math.min(end, judgedFrom)) reading.row.checkedFrom = Infinity;
  if (scorer) {
    const final = model.exits.length - 1;
    const [readout] = await cache.read(final, [row], [end - read], { logits: true });
    scorer.take(readout!.logits!, model.spec.vocabulary);
  }
  if (pool) tellStates(model, cache, pool, row, { from: read, to: end });
  const asked = { from: Math.max(read, readFrom(request) ?? end), to: end };
  if (opinionsFrom !== null && asked.from < end)
    reading.opinions.push(...(await readOpinions(model, cache, row, asked, request)));
  if (judged !== null && asked.from < end) {
    const [final, count] = [model.exits.length - 1, end - asked.from];
    const [said] = await cache.read(final, [row], [count], { logits: false, ends: [end] });
    const tokens = judged.slice(reading.regrets.length, reading.regrets.length + count);
    reading.regrets.push(...(await regretsAt(model, cache, { row, end }, said!.readouts, tokens)));
  }
  if (probation && judgedFrom < end) {
    // What an earlier piece of the prompt has shown does not count: where pieces end must not matter.
    const isAsked = (exit: ExitPoint): boolean => isHeadRead(request, exit.id) && !probation.isStrange(exit);
    const checked = { from: judgedFrom, to: end };
    probation.judged(
      await checksOf(model, cache, row, prompt, checked, { ...request, fim: request.codec.fim, isAsked }),
    );
    reading.row.checkedFrom = Math.min(reading.row.checkedFrom, judgedFrom);
  }
  reading.read = end;
  reading.milliseconds += performance.now() - started;
  return end - read;
}

export const promptRead = ({ remembered, scorer, opinions, regrets, milliseconds }: Reading<Prompt>): PromptRead => ({
  remembered,
  scores: scorer?.scores() ?? [],
  opinions,
  regrets,
  seconds: milliseconds / 1000,
});

/** Removes the tokens of a prompt that have entered but were not run. */
export const forgetUnread = (cache: KvCache, rows: Rows, { row, read, known }: Reading<Prompt>): void =>
  cache.truncate(rows.at(row), Math.max(read, known));
