/**
 * Fills the gap at a cursor. The session remembers the texts of the last gaps, so that only changes are computed. A cancelled gap ends
 * within a token, and the computed part of its prompt stays in the cache.
 */
import type { CompleteEvent } from '../../protocol/events.ts';
import type { GenerateOptions } from '../../protocol/options/options.ts';
import type { CompleteOptions, CompletionLimits, Gap } from '../../protocol/completion.ts';
import { hasWholeLine, hasWholePart, newLength, textOfTokens } from '../../protocol/suggestion.ts';
import { mostCandidates } from '../../protocol/options/decoding.ts';
import type { Candidate, StopReason, TokenRecord } from '../../protocol/trace.ts';
import type { FimTokenizer } from '../data/prompts/fim.ts';
import type { BatchRequest } from '../decoding/batch.ts';
import type { Session } from '../decoding/session.ts';
import { gapPrompt, rememberingTokenizer } from '../data/prompts/gap-prompt.ts';
import { repetitionEnd } from '../decoding/repetition.ts';
import { generateReady } from './generate.ts';
import { openGenerator, type Generator } from './opening/generator.ts';
import { placeEnd } from './writing/place-end.ts';
import { draftingFrom, sequenceOptions } from '../decoding/sequence-options.ts';

/** @throws UserError for a model or checkpoint that cannot be used. When the signal fires, it ends with what is written so far. */
export async function* complete(options: CompleteOptions, signal: AbortSignal): AsyncGenerator<CompleteEvent, void> {
  const generate = { ...options.generate, model: options.model };
  yield { type: 'phase', phase: 'load', detail: options.model };
  const generator = await openGenerator(generate, signal);
  try {
    yield* fill(options, generate, generator, signal);
  } finally {
    generator.release();
  }
}

async function* fill(
  { gap, limits }: CompleteOptions,
  generate: GenerateOptions,
  generator: Generator,
  signal: AbortSignal,
): AsyncGenerator<CompleteEvent, void> {
  yield generateReady(generate, generator);
  const started = performance.now();
  const { session, model } = generator;
  const tokenizer = rememberedTokenizer(generator.tokenizer);
  const contextLength = Math.min(limitsLength(limits), model.spec.contextLength);
  const prompt = gapPrompt(tokenizer, gap, limits, contextLength);
  const written = sequenceOptions(generate, generator);
  const sequence = { ...written, drafts: draftingFrom(written.drafts, prompt.others) };
  const request = (behind: readonly number[], maxTokens: number, suggested = ''): BatchRequest => ({
    ...sequence,
    prompt: [...prompt.ids, ...behind],
    begun: behind.length > 0 ? null : prompt.begun,
    number: 0,
    scores: null,
    urgency: 1,
    contextLength,
    maxTokens,
    endOfText: [...sequence.endOfText, ...prompt.ends],
    stopStrings: prompt.stops,
    ends: [
      () => placeEnd({ prefix: gap.prefix + suggested, suffix: gap.suffix }, limits.maxTokens, false),
      () => repetitionEnd(lastLine(gap.prefix + suggested)),
    ],
    isCancelled: () => signal.aborted,
  });
  let rememberedTokens: number | null = null;
  const task: Task = {
    session,
    gap,
    isOver: () => signal.aborted,
    timeGone: () => (performance.now() - started) / limits.maxMilliseconds,
    onPrompt: (remembered) => void (rememberedTokens ??= remembered),
  };
  const begun = limits.suggestions > 1 ? await beginnings(task, request, limits) : [];
  const one = request([], limits.suggestions === 0 ? 0 : limits.maxTokens);
  const filled = await write(task, begun.length > 0 ? begun : [{ request: one, tokens: [], stop: null }]);
  const suggestions = limits.suggestions === 0 ? [] : filled;
  for (const message of generator.warnings()) yield { type: 'warning', message };
  yield {
    type: 'completed',
    suggestions: suggestions.map(({ tokens, stop }) => ({ tokens, stop: stop ?? 'cancelled' })),
    fills: prompt.fills,
    promptTokens: prompt.ids.length,
    rememberedTokens: rememberedTokens ?? 0,
  };
}

const lastLine = (text: string): string => text.slice(text.lastIndexOf('\n') + 1);

/** What suggestions of one gap have in common. */
interface Task {
  readonly session: Session;
  readonly gap: Gap;
  /** Whether no reader waits for suggestions any more. */
  readonly isOver: () => boolean;
  /** Time since the request, as a share of the time after which a suggestion is shown. */
  readonly timeGone: () => number;
  readonly onPrompt: (rememberedTokens: number) => void;
}

/** A suggestion while it is written. */
interface Writing {
  readonly request: BatchRequest;
  readonly tokens: TokenRecord[];
  stop: StopReason | null;
}

/** Requests the continuation of the prompt and the tokens `behind` it; `suggested`: their text within the suggestion. */
type Ask = (behind: readonly number[], maxTokens: number, suggested?: string) => BatchRequest;

/** How several suggestions begin: with different tokens, the likeliest first. Empty if no reader waits any more. */
async function beginnings(task: Task, ask: Ask, { maxTokens, suggestions }: CompletionLimits): Promise<Writing[]> {
  const one = ask([], 1);
  // A token that ends the text counts like any other here, because tokens that only repeat what was taken off come first.
  const request = { ...one, stopStrings: [], endOfText: [], alternatives: mostCandidates, recordsBegun: true };
  const [first] = await write({ ...task, timeGone: () => 0 }, [{ request, tokens: [], stop: null }]);
  const record = first!.tokens.at(-1);
  if (record?.alternatives === undefined) return [];
  const respelled = first!.tokens.slice(0, -1).map(({ id }) => id);
  const { alternatives, ...rest } = record;
  // The first characters of the token may be the last ones of what was taken off the prompt.
  const known = one.codec.tokenText(record.id).length - record.text.length;
  const isText = ({ id, text }: Candidate): boolean =>
    !one.endOfText.includes(id) && text.length > known && !text.includes('\uFFFD');
  return alternatives
    .filter(isText)
    .slice(0, suggestions)
    .map(({ id, text, probability }) => ({
      request: ask([...respelled, id], maxTokens - 1, text.slice(known)),
      tokens: [{ ...rest, id, text: text.slice(known), confidence: probability }],
      stop: null,
    }));
}

/** Writes all suggestions to their ends, or until the time is over. */
async function write({ session, gap, isOver, timeGone, onPrompt }: Task, writings: Writing[]): Promise<Writing[]> {
  const byRequest = new Map(writings.map((writing) => [writing.request, writing]));
  const leave = (writing: Writing, stop: StopReason): void => {
    session.leave(writing.request);
    writing.stop = stop;
  };
  for await (const event of session.write([...byRequest.keys()])) {
    const writing = byRequest.get(event.request)!;
    if (event.type === 'prompt') onPrompt(event.remembered);
    else if (event.type === 'stop') writing.stop = event.reason;
    else {
      writing.tokens.push(...event.tokens);
      const text = textOfTokens(writing.tokens);
      if (saysNothingNew(text, gap)) leave(writing, 'stop-string');
      else if (isEnough(text, timeGone())) leave(writing, 'cancelled');
    }
    if (isOver()) break;
  }
  return writings.map((writing) => ({ ...writing, stop: writing.stop ?? 'cancelled' }));
}

/** After half of the time a whole line is shown at once, after all of it a word; the rest is requested ahead. */
const isEnough = (text: string, timeGone: number): boolean =>
  (timeGone > 0.5 && hasWholeLine(text)) || (timeGone > 1 && hasWholePart(text));

/** Whether its whole lines already repeat the text after the gap. */
function saysNothingNew(text: string, gap: Gap): boolean {
  const lines = text.slice(0, text.lastIndexOf('\n') + 1);
  return lines.trim() !== '' && newLength(lines, gap) < lines.trimEnd().length;
}

const tokenizers = new WeakMap<FimTokenizer, FimTokenizer>();

/** One that remembers what it has encoded, from one gap to the next. */
function rememberedTokenizer(tokenizer: FimTokenizer): FimTokenizer {
  const known = tokenizers.get(tokenizer) ?? rememberingTokenizer(tokenizer);
  tokenizers.set(tokenizer, known);
  return known;
}

/** Tokens of the longest prompt under these limits, and of its text. */
const limitsLength = (limits: CompletionLimits): number =>
  limits.prefixTokens + limits.suffixTokens + limits.chunkTokens + limits.maxTokens + namesTokens;
const namesTokens = 256;
