/**
 * A batch that texts join and leave token by token. Each text is the same as if it were written alone. Free rows keep what they computed,
 * for later texts with the same beginning. Knows no clients.
 */
import type { StopReason, TokenRecord } from '../../protocol/trace.ts';
import type { Allowed } from '../data/prompts/allowed.ts';
import type { Begun } from '../data/prompts/healing.ts';
import type { StagedModel } from '../runtime/staged-model.ts';
import { checkPrompt } from './prompts/check-prompt.ts';
import { openKvCache } from './cache/kv-cache.ts';
import type { Pace } from './drafts/pace.ts';
import { stoppingAt } from './prompts/prompt-exit.ts';
import {
  beginReading,
  forgetUnread,
  promptRead,
  readPiece,
  unreadOf,
  usesRemembered,
  type Prompt,
  type PromptRead,
  type Reading,
} from './prompts/prompt-reading.ts';
import { openRows } from './cache/rows.ts';
import { newSequence } from './sequence.ts';
import { forgetDrafts, writeNext, type Writing } from './writing.ts';

/** A text to be written. */
export interface BatchRequest extends Prompt {
  /** The number of this text among those of one request; its seed depends on it. */
  readonly number: number;
  /** Texts of a lower urgency wait for it; default: 0. */
  readonly urgency?: number;
  /** Most tokens of this text, prompt included; default: what the model sees. */
  readonly contextLength?: number;
  /** What was taken off the prompt's end. */
  readonly begun?: Begun | null;
  /** What its tokens may be, if nothing was taken off the prompt; null: any. */
  readonly allowed?: Allowed | null;
}

export type BatchEvent<Request extends BatchRequest> = { readonly request: Request } & (
  | ({ readonly type: 'prompt' } & PromptRead)
  | { readonly type: 'tokens'; readonly tokens: readonly TokenRecord[] }
  | { readonly type: 'stop'; readonly reason: StopReason; readonly stop?: string; readonly ids: Ids }
);

/** The ids of a prompt and of the tokens behind it; the token at `from` is the first that has a record. */
export interface Ids {
  readonly ids: readonly number[];
  readonly from: number;
}

export interface Batch<Request extends BatchRequest> {
  /**
   * Takes a text in as soon as a row is free: the most urgent first, otherwise in the order of their requests.
   * @throws UserError for a prompt that cannot be read.
   */
  join(request: Request): void;
  /** No more events come of this text, and its row is free for another. During a step it waits until that is over. */
  leave(request: Request): void;
  /** Reads a piece of a prompt, if one waits, and decides the next tokens of every text: of the most urgent ones alone. */
  step(): Promise<BatchEvent<Request>[]>;
  /** Texts that have a row, and those that wait for one. */
  readonly running: number;
  readonly waiting: number;
  dispose(): void;
}

export interface BatchShape {
  /** Most texts at a time, those that are only remembered included. */
  readonly rows: number;
  /** Free rows are given up if all rows together have room for more positions than this. */
  readonly positions?: number;
  /** Most tokens of prompts that are read in one step: how long a text that is written, or one that is left, waits. */
  readonly pieceTokens?: number;
}

const usualPiece = 256;

const urgencyOf = ({ urgency = 0 }: BatchRequest): number => urgency;

type IsDue<Request> = (request: Request) => boolean;

/** `expected`: the number of texts that come at once. Further rows are made when they are needed, which moves the contents of all rows. */
export function openBatch<Request extends BatchRequest>(
  model: StagedModel,
  shape: BatchShape,
  pace: Pace,
  expected = 1,
): Batch<Request> {
  const { pieceTokens = usualPiece } = shape;
  const lengthOf = ({ contextLength = Infinity }: Request): number => Math.min(contextLength, model.spec.contextLength);
  const cache = openKvCache(model, Math.min(expected, shape.rows), (...pass) => pace.measured(...pass));
  const rows = openRows(cache, shape.rows, shape.positions ?? Infinity);
  // Every text is in one of these three, and leaves it before the next; those in the last two have a row.
  const waiting = new Set<Request>();
  const reading = new Map<Request, Reading<Request>>();
  const writing = new Map<Request, Writing<Request>>();
  const leaving = new Set<Request>();
  let isStepping = false;
  let shortFirst = false;

  const idsOf = (request: Request): Ids => {
    const text = writing.get(request);
    const { prompt } = request;
    return text
      ? { ids: [...text.row.ids], from: prompt.length + text.sequence.respelled }
      : { ids: prompt, from: prompt.length };
  };

  const all = (): Request[] => [...waiting, ...reading.keys(), ...writing.keys()];

  const begin = (request: Request): Reading<Request> => {
    waiting.delete(request);
    const begun = beginReading(model, cache, rows, request, lengthOf(request));
    reading.set(request, begun);
    return begun;
  };

  /**
   * The prompt whose turn it is: one in prefill, else a waiting one if a row is free for it. If short ones go first, the first of either
   * that can be read in `left` tokens.
   */
  const nextToRead = (isDue: IsDue<Request>, left: number): Reading<Request> | null => {
    const open = [...reading.values()].filter(({ request }) => isDue(request));
    const due = writing.size + reading.size < shape.rows ? [...waiting].filter(isDue) : [];
    const most = Math.max(...due.map(urgencyOf));
    const coming = due.filter((request) => urgencyOf(request) === most);
    if (shortFirst) {
      const begun = open.find(({ request, read }) => request.prompt.length - read <= left);
      if (begun) return begun;
      const short = coming.find((request) => unreadOf(rows, request) <= left);
      if (short) return begin(short);
    }
    return open[0] ?? (coming[0] ? begin(coming[0]) : null);
  };

  const readPrompts = async (events: BatchEvent<Request>[], isDue: IsDue<Request>): Promise<void> => {
    // In every other step alone, so that short prompts do not wait for a long one, nor a long one for ever for short ones.
    shortFirst = !shortFirst;
    for (let left = pieceTokens; left > 0;) {
      const now = nextToRead(isDue, left);
      if (now === null) return;
      left -= await readPiece(model, cache, rows.at(now.row), now, left);
      const { request, row } = now;
      if (now.read < request.prompt.length) continue;
      events.push({ type: 'prompt', request, ...promptRead(now) });
      if (request.maxTokens === 0) stop(events, request, 'length');
      else {
        reading.delete(request);
        const { number, prompt, begun, allowed } = request;
        const sequence = newSequence(number, prompt, request, begun, allowed, now.probation);
        writing.set(request, { request, row, sequence, drafts: [] });
      }
    }
  };

  const writeTokens = async (events: BatchEvent<Request>[], isDue: IsDue<Request>): Promise<void> => {
    const texts = [...writing.values()].filter(({ request }) => isDue(request));
    if (texts.length === 0) return;
    const decided = await writeNext(model, cache, rows, pace, texts, lengthOf);
    for (const { request, records, reason, stop: found } of decided) {
      if (records.length > 0) events.push({ type: 'tokens', request, tokens: records });
      if (reason !== null) stop(events, request, reason, found);
    }
  };

  const stop = (events: BatchEvent<Request>[], request: Request, reason: StopReason, found?: string): void => {
    events.push({ type: 'stop', request, reason, ...(found !== undefined && { stop: found }), ids: idsOf(request) });
    remove(request);
  };

  /** Takes a text out of the batch; its row remembers what was read and decided of it, if that is of use to another. */
  const remove = (request: Request): void => {
    const prompt = reading.get(request);
    const text = writing.get(request);
    if (prompt) forgetUnread(cache, rows, prompt);
    if (text) forgetDrafts(cache, rows, text);
    const row = prompt?.row ?? text?.row;
    // No other text goes on from a prompt that was scored or pooled: its row is the next to be taken, and no conversation is given up.
    if (row && usesRemembered(request)) rows.remember(row);
    else if (row) rows.clear(row);
    waiting.delete(request);
    reading.delete(request);
    writing.delete(request);
  };

  return {
    join(request) {
      checkPrompt(request.prompt, { ...model.spec, contextLength: lengthOf(request) });
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
        // Cancelled texts end with what is written so far.
        for (const request of all().filter((each) => each.isCancelled?.())) stop(events, request, 'cancelled');
        // In a full batch, waiting texts do not hold up those that have a row.
        const isFull = writing.size + reading.size >= shape.rows;
        const able = isFull ? [...reading.keys(), ...writing.keys()] : all();
        const most = Math.max(...able.map(urgencyOf));
        const isDue = (request: Request): boolean => urgencyOf(request) >= most;
        await readPrompts(events, isDue);
        await writeTokens(events, isDue);
      } finally {
        isStepping = false;
      }
      const left = new Set(leaving);
      leaving.clear();
      for (const request of left) remove(request);
      return events.filter(({ request }) => !left.has(request));
    },
    get running() {
      return writing.size + reading.size;
    },
    get waiting() {
      return waiting.size;
    },
    dispose: () => cache.dispose(),
  };
}
