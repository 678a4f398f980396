/**
 * A batch that texts join and leave token by token. Each text is the same as if it were written alone. Free rows keep what they computed,
 * for later texts with the same beginning. Knows no clients.
 */
import type { StopReason, TokenRecord } from '../../protocol/trace.ts';
import type { Allowed } from '../data/allowed.ts';
import type { Begun } from '../data/healing.ts';
import type { StagedModel } from '../runtime/staged-model.ts';
import type { Block } from './block.ts';
import { checkPrompt } from './check-prompt.ts';
import { choose } from './choose.ts';
import { draft, learn } from './draft.ts';
import { openKvCache, takeBack } from './kv-cache.ts';
import type { Pace } from './pace.ts';
import { tellStates, type Pool } from './pooled.ts';
import { stoppingAt } from './prompt-exit.ts';
import { newPromptScorer, type PromptScore, type PromptScorer } from './prompt-scores.ts';
import { openRows, type Row } from './rows.ts';
import { newSequence, write, type Sequence, type SequenceOptions } from './sequence.ts';

/** A text to be written. */
export interface BatchRequest extends SequenceOptions {
  readonly prompt: readonly number[];
  /** Which of several texts of one request it is: counts into its seed. */
  readonly number: number;
  /** How many of the most probable tokens are scored at each place of the prompt; null: none. */
  readonly scores: number | null;
  /** Texts that are not urgent wait for it. */
  readonly isUrgent?: boolean;
  /** What it computes is remembered for texts of the same scope alone. */
  readonly scope?: string;
  /** Most tokens of this text, prompt included; default: the batch's. */
  readonly contextLength?: number;
  /** What was taken off the prompt's end. */
  readonly begun?: Begun | null;
  /** Called with the stream of the prompt's tokens. */
  readonly pool?: Pool | null;
  /** What its tokens may be, if nothing was taken off the prompt; null: any. */
  readonly allowed?: Allowed | null;
}

export type BatchEvent<Request extends BatchRequest> = { readonly request: Request } & (
  | {
      readonly type: 'prompt';
      /** Tokens of the prompt that did not have to be read. */
      readonly remembered: number;
      /** What reading the others took. */
      readonly seconds: number;
      /** Of its second token, its third …; empty unless they were requested. */
      readonly scores: readonly PromptScore[];
    }
  | { readonly type: 'tokens'; readonly tokens: readonly TokenRecord[] }
  | { readonly type: 'stop'; readonly reason: StopReason }
);

export interface Batch<Request extends BatchRequest> {
  /**
   * Takes a text in as soon as a row is free: urgent texts first, others in the order of their requests.
   * @throws UserError for a prompt that is empty or too long.
   */
  join(request: Request): void;
  /** No more events come of this text, and its row is free for another. During a step it waits until that is over. */
  leave(request: Request): void;
  /** Reads a piece of a prompt, if one waits, and decides the next tokens of every text; of urgent ones alone, if there are any. */
  step(): Promise<BatchEvent<Request>[]>;
  /** Texts that have a row, and those that wait for one. */
  readonly running: number;
  readonly waiting: number;
  dispose(): void;
}

export interface BatchShape {
  /** Most texts at a time, those that are only remembered included. */
  readonly rows: number;
  /** Most tokens of a text, prompt included; default: what the model sees. */
  readonly contextLength?: number;
  /** Free rows are given up if all rows together have room for more positions than this. */
  readonly positions?: number;
  /** Most tokens of prompts that are read in one step: how long a text that is written, or one that is left, waits. */
  readonly pieceTokens?: number;
}

const usualPiece = 256;
/** Of a prompt that is scored each token gives a row of logits. */
const scoredTokens = 64;

interface Reading<Request> {
  readonly request: Request;
  readonly row: Row;
  readonly remembered: number;
  readonly scorer: PromptScorer | null;
  /** Tokens of the prompt that have been run, the remembered ones among them. */
  read: number;
  milliseconds: number;
}

interface Writing<Request> {
  readonly request: Request;
  readonly row: Row;
  readonly sequence: Sequence;
  block: Block;
}

const noDrafts: Block = { drafts: [] };

/** `expected`: the number of texts that come at once. Further rows are made when they are needed, which moves the contents of all rows. */
export function openBatch<Request extends BatchRequest>(
  model: StagedModel,
  shape: BatchShape,
  pace: Pace,
  expected = 1,
): Batch<Request> {
  const { vocabulary } = model.spec;
  const { pieceTokens = usualPiece } = shape;
  const contextLength = Math.min(shape.contextLength ?? Infinity, model.spec.contextLength);
  const lengthOf = (request: Request): number => Math.min(request.contextLength ?? Infinity, contextLength);
  const final = model.exits.length - 1;
  const cache = openKvCache(model, Math.min(expected, shape.rows), (...pass) => pace.measured(...pass));
  const rows = openRows(cache, shape.rows, shape.positions ?? Infinity);
  let writing: readonly Writing<Request>[] = [];
  let reading: readonly Reading<Request>[] = [];
  const waiting = new Set<Request>();
  const leaving = new Set<Request>();
  let isStepping = false;

  const begin = (request: Request): Reading<Request> => {
    const { prompt, scores, pool, codec, maxTokens, scope = '' } = request;
    const length = Math.min(prompt.length + maxTokens, lengthOf(request));
    const row = rows.take(scores === null && !pool ? prompt : [], scope, length);
    const remembered = cache.position(rows.at(row));
    cache.enter(rows.at(row), prompt.slice(remembered));
    row.ids = [...prompt];
    const scorer = scores === null ? null : newPromptScorer(prompt, scores, codec);
    return { request, row, remembered, scorer, read: remembered, milliseconds: 0 };
  };

  /** Computes a piece of the prompt, alone; all of the prompt has been entered already. Returns the number of tokens. */
  const readPiece = async (now: Reading<Request>, limit: number): Promise<number> => {
    const started = performance.now();
    const { request, scorer, read } = now;
    const row = rows.at(now.row);
    const end = Math.min(request.prompt.length, read + (scorer ? Math.min(limit, scoredTokens) : limit));
    const enabled = [...model.exits.keys()].filter((k) => request.enabled(model.exits[k]!.id));
    const { pool, promptExit, prompt } = request;
    const lastOnly = scorer === null && (!pool || pool.lastOnly);
    // If other tokens than the last are read, or a vector of the text, all tokens are computed in full.
    const stopping = lastOnly && !pool ? stoppingAt(model, promptExit, prompt.length) : null;
    await cache.fill(row, enabled, end, { lastOnly, stopping });
    if (scorer) {
      const [result] = await cache.read(final, [row], [end - read], { logits: true });
      scorer.take(result!.logits!, vocabulary);
    }
    if (pool) tellStates(model, cache, pool, row, end - read);
    now.read = end;
    now.milliseconds += performance.now() - started;
    return end - read;
  };

  /** The prompt whose turn it is: one in prefill, else a waiting one if a row is free for it. */
  const nextToRead = (isUrgent: boolean): Reading<Request> | null => {
    const isDue = (request: Request): boolean => !isUrgent || request.isUrgent === true;
    const open = reading.find(({ request }) => isDue(request));
    if (open || writing.length + reading.length >= shape.rows) return open ?? null;
    const request = [...waiting].find(isDue);
    if (request === undefined) return null;
    waiting.delete(request);
    const begun = begin(request);
    reading = [...reading, begun];
    return begun;
  };

  const readPrompts = async (events: BatchEvent<Request>[], isUrgent: boolean): Promise<void> => {
    for (let left = pieceTokens; left > 0;) {
      const now = nextToRead(isUrgent);
      if (now === null) return;
      left -= await readPiece(now, left);
      const { request, row, remembered, scorer, read, milliseconds } = now;
      if (read < request.prompt.length) continue;
      reading = without(reading, now);
      const scores = scorer?.scores() ?? [];
      events.push({ type: 'prompt', request, remembered, scores, seconds: milliseconds / 1000 });
      if (request.maxTokens === 0) {
        events.push({ type: 'stop', request, reason: 'length' });
        rows.remember(row);
      } else {
        const sequence = newSequence(request.number, request.prompt, request, request.begun, request.allowed);
        writing = [...writing, { request, row, sequence, block: noDrafts }];
      }
    }
  };

  const decide = async (events: BatchEvent<Request>[], texts: readonly Writing<Request>[]): Promise<void> => {
    const started = performance.now();
    // In the order of the rows, so that attention can treat neighbouring rows together.
    const ordered = [...texts].sort((a, b) => rows.at(a.row) - rows.at(b.row));
    const own = cache.of(ordered.map(({ row }) => rows.at(row)));
    const sequences = ordered.map(({ sequence }) => sequence);
    const blocks = ordered.map(({ block }) => block);
    const choices = await choose(model, own, pace, sequences, blocks);
    const going: Writing<Request>[] = [];
    for (const [i, text] of ordered.entries()) {
      const { request, row, sequence, block } = text;
      takeBack(own, i, block, choices[i]!.length);
      for (const { token } of choices[i]!) row.ids.push(token);
      text.block = noDrafts;
      learn(pace, sequence, choices[i]!);
      const { records, reason } = write(sequence, choices[i]!, lengthOf(request));
      if (records.length > 0) events.push({ type: 'tokens', request, tokens: records });
      if (reason === null) {
        own.enter(i, [choices[i]!.at(-1)!.token]);
        going.push(text);
      } else {
        events.push({ type: 'stop', request, reason });
        end(text);
      }
    }
    const drafted = await draft(
      model,
      cache.of(going.map(({ row }) => rows.at(row))),
      pace,
      going.map(({ sequence }) => sequence),
    );
    for (const [i, block] of drafted.entries()) going[i]!.block = block;
    const decided = choices.reduce((sum, row) => sum + row.length, 0);
    pace.decided(decided, performance.now() - started);
  };

  /** Takes a text out of the batch. */
  const end = (text: Writing<Request>): void => {
    writing = without(writing, text);
    rows.remember(text.row);
  };

  const remove = (request: Request): void => {
    waiting.delete(request);
    const text = writing.find((each) => each.request === request);
    if (text) {
      const row = rows.at(text.row);
      cache.truncate(row, cache.position(row) - text.block.drafts.length);
      end(text);
    }
    const read = reading.find((each) => each.request === request);
    if (read) {
      // The rest of the prompt has entered, and nothing more.
      cache.truncate(rows.at(read.row), read.read);
      reading = without(reading, read);
      rows.remember(read.row);
    }
  };

  /** Cancelled texts end with what is written so far. */
  const endCancelled = (events: BatchEvent<Request>[]): void => {
    const all = [...waiting, ...[...reading, ...writing].map(({ request }) => request)];
    const over = (request: Request): boolean => request.isCancelled?.() ?? false;
    for (const request of all.filter(over)) {
      events.push({ type: 'stop', request, reason: 'cancelled' });
      remove(request);
    }
  };

  return {
    join(request) {
      checkPrompt(request.prompt, lengthOf(request));
      stoppingAt(model, request.promptExit, request.prompt.length);
      waiting.add(request);
    },
    leave(request) {
      if (isStepping) leaving.add(request);
      else remove(request);
    },
    async step() {
      if (isStepping) throw new Error('A step of this batch runs already.');
      isStepping = true;
      const events: BatchEvent<Request>[] = [];
      try {
        endCancelled(events);
        const open = [...waiting, ...[...reading, ...writing].map(({ request }) => request)];
        const isUrgent = open.some((request) => request.isUrgent);
        await readPrompts(events, isUrgent);
        const texts = isUrgent ? writing.filter(({ request }) => request.isUrgent) : writing;
        if (texts.length > 0) await decide(events, texts);
      } finally {
        isStepping = false;
      }
      const left = new Set(leaving);
      leaving.clear();
      for (const request of left) remove(request);
      return events.filter(({ request }) => !left.has(request));
    },
    get running() {
      return writing.length + reading.length;
    },
    get waiting() {
      return waiting.size;
    },
    dispose: () => cache.dispose(),
  };
}

const without = <T>(all: readonly T[], one: T): readonly T[] => all.filter((each) => each !== one);
