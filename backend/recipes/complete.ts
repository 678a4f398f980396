/**
 * Fills the gap at a cursor. The texts of the last gaps stay in the rows of a batch, so that only what has changed is read; a
 * gap that nobody waits for any more is left within a token, and what was read of it stays.
 */
import type { CompleteEvent } from '../../protocol/events.ts';
import type { CompleteOptions, Gap } from '../../protocol/completion.ts';
import { hasWholeWord, newLength, textOfTokens } from '../../protocol/suggestion.ts';
import type { StopReason, TokenRecord } from '../../protocol/trace.ts';
import type { FimTokenizer } from '../data/fim.ts';
import { openBatch, type Batch, type BatchRequest } from '../decoding/batch.ts';
import type { ModelSpec } from '../model/spec.ts';
import { gapPrompt, rememberingTokenizer } from './gap-prompt.ts';
import { readyEvent } from './generate.ts';
import { openGenerator, type Generator } from './generator.ts';
import { sequenceOptions } from './sequence-options.ts';

/** @throws UserError for a model or checkpoint that cannot be used. Ends with what there is once the signal fires. */
export async function* complete(options: CompleteOptions, signal: AbortSignal): AsyncGenerator<CompleteEvent, void> {
  const { gap, limits } = options;
  const generate = { ...options.generate, model: options.model };
  yield { type: 'phase', phase: 'load', detail: options.model };
  const generator = await openGenerator(generate, signal);
  yield readyEvent(generate, generator);
  const started = performance.now();
  const { tokenizer, batch, contextLength } = keptTexts(generator, limitsLength(options));
  const prompt = gapPrompt(tokenizer, gap, limits, contextLength);
  const asked = sequenceOptions(generate, generator);
  const request = (ids: readonly number[], maxTokens: number): BatchRequest => ({
    ...asked,
    prompt: ids,
    number: 0,
    scores: null,
    maxTokens,
    endOfText: [...asked.endOfText, ...prompt.ends],
    stopStrings: prompt.stops,
    isCancelled: () => signal.aborted,
  });
  let rememberedTokens = 0;
  const task: Task = {
    batch,
    gap,
    isOver: () => signal.aborted,
    isLate: () => performance.now() - started > limits.maxMilliseconds,
    onPrompt: (remembered) => void (rememberedTokens ||= remembered),
  };
  const { maxTokens, suggestions: most } = limits;
  const suggestions =
    most > 1 && maxTokens > 0
      ? await several(task, request, prompt.ids, maxTokens, most)
      : await write(task, [{ request: request(prompt.ids, maxTokens), tokens: [], stop: null }]);
  for (const message of generator.warnings()) yield { type: 'warning', message };
  yield {
    type: 'completed',
    suggestions: suggestions.map(({ tokens, stop }) => ({ tokens, stop: stop ?? 'cancelled' })),
    fills: prompt.fills,
    promptTokens: prompt.ids.length,
    rememberedTokens,
  };
}

/** What suggestions of one gap have in common. */
interface Task {
  readonly batch: Batch<BatchRequest>;
  readonly gap: Gap;
  /** Nobody waits any more. */
  readonly isOver: () => boolean;
  /** What is there is shown. */
  readonly isLate: () => boolean;
  readonly onPrompt: (rememberedTokens: number) => void;
}

/** A suggestion while it is written. */
interface Writing {
  readonly request: BatchRequest;
  readonly tokens: TokenRecord[];
  stop: StopReason | null;
}

/** Suggestions that differ in their first token: the likeliest ones, each written on. */
async function several(
  task: Task,
  request: (ids: readonly number[], maxTokens: number) => BatchRequest,
  ids: readonly number[],
  maxTokens: number,
  most: number,
): Promise<Writing[]> {
  const first = { ...request(ids, 1), stopStrings: [], alternatives: most };
  const [{ tokens: [token] } = { tokens: [] }] = await write(task, [{ request: first, tokens: [], stop: null }]);
  if (token === undefined) return [];
  const { alternatives = [], ...record } = token;
  const begun = alternatives
    .filter(({ id, text }) => !request([], 0).endOfText.includes(id) && text !== '' && !text.includes('\uFFFD'))
    .map(({ id, text, probability }): Writing => {
      const begins: TokenRecord = { ...record, id, text, confidence: probability };
      return { request: request([...ids, id], maxTokens - 1), tokens: [begins], stop: null };
    });
  return write(task, begun);
}

/** Writes all to their end, or as far as there is time. */
async function write({ batch, gap, isOver, isLate, onPrompt }: Task, writings: Writing[]): Promise<Writing[]> {
  const byRequest = new Map(writings.map((writing) => [writing.request, writing]));
  for (const request of byRequest.keys()) batch.join(request);
  const leave = (writing: Writing, stop: StopReason): void => {
    batch.leave(writing.request);
    writing.stop = stop;
  };
  const open = (): Writing[] => writings.filter(({ stop }) => stop === null);
  try {
    while (open().length > 0 && !isOver()) {
      for (const event of await batch.step()) {
        const writing = byRequest.get(event.request);
        if (writing === undefined) continue;
        if (event.type === 'prompt') onPrompt(event.remembered);
        else if (event.type === 'tokens') writing.tokens.push(...event.tokens);
        else writing.stop = event.reason;
      }
      for (const writing of open()) {
        const text = textOfTokens(writing.tokens);
        if (saysNothingNew(text, gap)) leave(writing, 'stop-string');
        else if (isLate() && hasWholeWord(text)) leave(writing, 'cancelled');
      }
    }
  } finally {
    for (const writing of open()) leave(writing, 'cancelled');
  }
  return writings;
}

/** Whether its whole lines already run into what stands behind the gap. */
function saysNothingNew(text: string, gap: Gap): boolean {
  const lines = text.slice(0, text.lastIndexOf('\n') + 1);
  return lines.trim() !== '' && newLength(lines, gap) < lines.trimEnd().length;
}

/** What is kept with a generator from one gap to the next. */
interface Kept {
  readonly tokenizer: FimTokenizer;
  readonly contextLength: number;
  readonly batch: Batch<BatchRequest>;
}

const kept = new WeakMap<Generator, Kept>();

/** Bytes that texts of gaps may take, and how many there are at least and at most. */
const textBytes = 2 ** 29;
const leastTexts = 4;
const mostTexts = 8;

function keptTexts(generator: Generator, longest: number): Kept {
  const contextLength = Math.min(longest, generator.model.spec.contextLength);
  const known = kept.get(generator);
  if (known && known.contextLength >= contextLength) return known;
  known?.batch.dispose();
  const { staged, tokenizer, memory } = generator;
  const rows = Math.floor(textBytes / (contextLength * bytesOfToken(staged.spec)));
  const shape = { rows: Math.min(mostTexts, Math.max(leastTexts, rows)), contextLength };
  const now = {
    tokenizer: rememberingTokenizer(tokenizer),
    contextLength,
    batch: openBatch(staged, shape, memory.pace),
  };
  kept.set(generator, now);
  return now;
}

/** About what keys and values of a token take, in 16 bits. */
const bytesOfToken = ({ layers, kvHeads, headDimensions }: ModelSpec): number =>
  layers.length * 2 * kvHeads * headDimensions * 2;

/** Tokens of the longest prompt under these limits, with what it says. */
const limitsLength = ({ limits }: CompleteOptions): number =>
  limits.prefixTokens + limits.suffixTokens + limits.chunkTokens + limits.maxTokens + namesTokens;
const namesTokens = 256;
