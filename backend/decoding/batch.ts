/**
 * A batch that texts join and leave token by token. Each is written as it would be alone (choose.ts, draft.ts and sequence.ts are
 * those of `decode`), and rows that nobody writes in keep what they hold for a text that begins alike. Knows no clients.
 *
 * Rows in order: those that are written, the one whose prompt is read, those that only remember. So a pass is of neighbours.
 */
import type { StopReason, TokenRecord } from '../../protocol/trace.ts';
import type { StagedModel } from '../runtime/staged-model.ts';
import type { Block } from './block.ts';
import { choose } from './choose.ts';
import { checkPrompt } from './decode.ts';
import { draft } from './draft.ts';
import { openKvCache, takeBack } from './kv-cache.ts';
import type { Pace } from './pace.ts';
import { newPromptScorer, type PromptScore, type PromptScorer } from './prompt-scores.ts';
import { newSequence, write, type Sequence, type SequenceOptions } from './sequence.ts';

/** A text to be written. */
export interface BatchRequest extends SequenceOptions {
  readonly prompt: readonly number[];
  /** Which of several texts of one client it is: counts into its seed, as in `decode`. */
  readonly number: number;
  /** The prompt's tokens are scored, with so many of the most probable in each place; null: they are not. */
  readonly scores: number | null;
}

export type BatchEvent<Request extends BatchRequest> = { readonly request: Request } & (
  | {
      readonly type: 'prompt';
      /** Tokens of the prompt that did not have to be read. */
      readonly remembered: number;
      /** Of its second token, its third …; empty where none were asked for. */
      readonly scores: readonly PromptScore[];
    }
  | { readonly type: 'tokens'; readonly tokens: readonly TokenRecord[] }
  | { readonly type: 'stop'; readonly reason: StopReason }
);

/** `join` and `leave` wait until a step is over. */
export interface Batch<Request extends BatchRequest> {
  /**
   * Takes a text in as soon as there is a row, in the order of asking.
   * @throws UserError for a prompt that is empty or too long.
   */
  join(request: Request): void;
  /** Nothing more is told of this text, and its row is free for another. */
  leave(request: Request): void;
  /** Reads a piece of a prompt, where one waits, and decides the next tokens of every text. */
  step(): Promise<BatchEvent<Request>[]>;
  /** Texts that have a row, and those that wait for one. */
  readonly running: number;
  readonly waiting: number;
  dispose(): void;
}

export interface BatchShape {
  /** Most texts at a time, those that are only remembered included. */
  readonly rows: number;
  /** Most tokens of a text, prompt included. */
  readonly contextLength: number;
  /** Tokens of prompts that are read in one step: how long a text that is written, or one that is left, waits. */
  readonly pieceTokens?: number;
}

const usualPiece = 256;
/** Of a prompt that is scored each token gives a row of logits. */
const scoredTokens = 64;
/** A shorter beginning is read sooner than copied. */
const worthCopying = 16;

/** What a row holds: the ids that its cache has, the prompt's and those decided, and when it was last written. */
interface Row {
  ids: number[];
  used: number;
}

interface Reading<Request> {
  readonly request: Request;
  readonly remembered: number;
  readonly scorer: PromptScorer | null;
  /** Tokens of the prompt that have been run, the remembered ones among them. */
  read: number;
}

interface Writing<Request> {
  readonly request: Request;
  readonly sequence: Sequence;
  block: Block;
}

const noDrafts: Block = { drafts: [] };

export function openBatch<Request extends BatchRequest>(
  model: StagedModel,
  shape: BatchShape,
  pace: Pace,
): Batch<Request> {
  const { vocabulary } = model.spec;
  const { pieceTokens = usualPiece } = shape;
  const contextLength = Math.min(shape.contextLength, model.spec.contextLength);
  const final = model.exits.length - 1;
  const cache = openKvCache(model, shape.rows, (...pass) => pace.measured(...pass));
  const rows = Array.from({ length: shape.rows }, (): Row => ({ ids: [], used: 0 }));
  const writing: Writing<Request>[] = [];
  const waiting: Request[] = [];
  let reading: Reading<Request> | null = null;
  let uses = 0;

  const swap = (a: number, b: number): void => {
    if (a === b) return;
    cache.swap(a, b);
    [rows[a], rows[b]] = [rows[b]!, rows[a]!];
  };

  /** A row that is done with keeps what its cache has. */
  const remember = (row: number): void => {
    const { ids } = rows[row]!;
    rows[row] = { ids: ids.slice(0, cache.position(row)), used: ++uses };
  };

  /** Puts a row behind those that are written that begins like the prompt; answers how far. */
  const takeRow = (prompt: readonly number[]): number => {
    const row = writing.length;
    const common = rows.map(({ ids }) => commonLength(ids, prompt));
    const source = common.indexOf(Math.max(...common));
    const shared = common[source]!;
    const isIdle = source >= row;
    const others = [...rows.keys()].slice(row).filter((r) => r !== source);
    const oldest = others.reduce((a, b) => (rows[b]!.used < rows[a]!.used ? b : a), others[0] ?? source);
    // Most of another conversation is not given up for its first words.
    if (oldest === source || (isIdle && 2 * shared >= rows[source]!.ids.length)) {
      cache.truncate(source, shared);
      swap(source, row);
    } else {
      cache.truncate(oldest, 0);
      swap(oldest, row);
      if (shared >= worthCopying) cache.copy(source === row ? oldest : source, row, shared);
    }
    // The next token is read of the prompt's last one.
    const remembered = cache.position(row);
    if (remembered > 0 && remembered === prompt.length && !cache.isHeard(row)) cache.truncate(row, remembered - 1);
    return cache.position(row);
  };

  const begin = (request: Request): Reading<Request> => {
    const { prompt, scores, codec } = request;
    const remembered = takeRow(scores === null ? prompt : []);
    const row = writing.length;
    cache.enter(row, prompt.slice(remembered));
    rows[row]!.ids = [...prompt];
    const scorer = scores === null ? null : newPromptScorer(prompt, scores, codec);
    return { request, remembered, scorer, read: remembered };
  };

  /** Runs a piece of the prompt, which has entered as a whole, as it does alone; answers how many tokens. */
  const readPiece = async (now: Reading<Request>, most: number): Promise<number> => {
    const row = writing.length;
    const { request, scorer, read } = now;
    const end = Math.min(request.prompt.length, read + (scorer ? Math.min(most, scoredTokens) : most));
    await cache.fill(
      row,
      [...model.exits.keys()].filter((k) => request.enabled(model.exits[k]!.id)),
      end,
      { lastOnly: scorer === null },
    );
    if (scorer) {
      const [said] = await cache.read(final, [row], [end - read], { logits: true });
      scorer.take(said!.logits!, vocabulary);
    }
    now.read = end;
    return end - read;
  };

  const readPrompts = async (events: BatchEvent<Request>[]): Promise<void> => {
    for (let left = pieceTokens; left > 0;) {
      if (reading === null && writing.length < rows.length && waiting.length > 0) reading = begin(waiting.shift()!);
      if (reading === null) return;
      left -= await readPiece(reading, left);
      const row = writing.length;
      const { request, remembered, scorer, read } = reading;
      if (read < request.prompt.length) continue;
      reading = null;
      events.push({ type: 'prompt', request, remembered, scores: scorer?.scores() ?? [] });
      if (request.maxTokens === 0) {
        events.push({ type: 'stop', request, reason: 'length' });
        remember(row);
        continue;
      }
      const sequence = newSequence(request.number, request.prompt, request);
      writing.push({ request, sequence, block: noDrafts });
    }
  };

  /** Closes the gap that a text leaves. */
  const endWriting = (at: number): void => {
    const last = writing.length - 1;
    remember(at);
    swap(at, last);
    writing[at] = writing[last]!;
    writing.pop();
    if (reading !== null) swap(last, last + 1);
  };

  const decide = async (events: BatchEvent<Request>[]): Promise<void> => {
    const started = performance.now();
    const sequences = writing.map(({ sequence }) => sequence);
    const blocks = writing.map(({ block }) => block);
    const choices = await choose(model, cache.first(writing.length), pace, sequences, blocks);
    const over = new Set<Writing<Request>>();
    for (const [row, text] of writing.entries()) {
      const { request, sequence, block } = text;
      takeBack(cache, row, block, choices[row]!.length);
      for (const { token } of choices[row]!) rows[row]!.ids.push(token);
      text.block = noDrafts;
      const { records, reason } = write(sequence, choices[row]!, contextLength);
      if (records.length > 0) events.push({ type: 'tokens', request, tokens: records });
      if (reason === null) cache.enter(row, [choices[row]!.at(-1)!.token]);
      else {
        events.push({ type: 'stop', request, reason });
        over.add(text);
      }
    }
    // The last first: where all end together, none changes places.
    for (const text of [...over].reverse()) endWriting(writing.indexOf(text));
    const next = await draft(
      model,
      cache.first(writing.length),
      pace,
      writing.map(({ sequence }) => sequence),
    );
    for (const [row, block] of next.entries()) writing[row]!.block = block;
    const decided = choices.reduce((sum, row) => sum + row.length, 0);
    pace.decided(decided, performance.now() - started);
  };

  return {
    join(request) {
      checkPrompt(request.prompt, contextLength);
      waiting.push(request);
    },
    leave(request) {
      const queued = waiting.indexOf(request);
      if (queued >= 0) waiting.splice(queued, 1);
      const at = writing.findIndex((text) => text.request === request);
      if (at >= 0) {
        cache.truncate(at, cache.position(at) - writing[at]!.block.drafts.length);
        endWriting(at);
      }
      if (reading?.request === request) {
        // The rest of the prompt has entered, and nothing more.
        cache.truncate(writing.length, reading.read);
        reading = null;
        remember(writing.length);
      }
    },
    async step() {
      const events: BatchEvent<Request>[] = [];
      await readPrompts(events);
      if (writing.length > 0) await decide(events);
      return events;
    },
    get running() {
      return writing.length + (reading === null ? 0 : 1);
    },
    get waiting() {
      return waiting.length;
    },
    dispose: () => cache.dispose(),
  };
}

/** Tokens with which both begin. */
function commonLength(ids: readonly number[], prompt: readonly number[]): number {
  let length = 0;
  while (length < ids.length && length < prompt.length && ids[length] === prompt[length]) length++;
  return length;
}
