/**
 * Fills the gap at a cursor. The session remembers the texts of the last gaps, so that only what has changed is read; a gap that is
 * cancelled ends within a token, and what was read of it stays.
 */
import type { CompleteEvent } from '../../protocol/events.ts';
import type { GenerateOptions } from '../../protocol/options.ts';
import type { CompleteOptions, CompletionLimits, Gap } from '../../protocol/completion.ts';
import { hasWholeLine, hasWholeWord, newLength, textOfTokens } from '../../protocol/suggestion.ts';
import { mostCandidates } from '../../protocol/options-decoding.ts';
import type { Candidate, StopReason, TokenRecord } from '../../protocol/trace.ts';
import type { FimTokenizer } from '../data/fim.ts';
import type { BatchRequest } from '../decoding/batch.ts';
import type { Session } from '../decoding/session.ts';
import { gapPrompt, rememberingTokenizer, type GapPrompt } from './gap-prompt.ts';
import { readyEvent } from './generate.ts';
import { openGenerator, type Generator } from './generator.ts';
import { sequenceOptions } from './sequence-options.ts';

/** @throws UserError for a model or checkpoint that cannot be used. Ends with what there is once the signal fires. */
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
  yield readyEvent(generate, generator);
  const started = performance.now();
  const { session, model } = generator;
  const tokenizer = rememberedTokenizer(generator);
  const contextLength = Math.min(limitsLength(limits), model.spec.contextLength);
  const prompt = gapPrompt(tokenizer, gap, limits, contextLength);
  const asked = sequenceOptions(generate, generator);
  const request = (ids: readonly number[], maxTokens: number): BatchRequest => ({
    ...asked,
    prompt: ids,
    number: 0,
    scores: null,
    isUrgent: true,
    contextLength,
    maxTokens,
    endOfText: [...asked.endOfText, ...prompt.ends],
    stopStrings: prompt.stops,
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
  const begun =
    limits.suggestions === 0
      ? []
      : await beginnings(task, request, prompt, tokenizer, limits.maxTokens, limits.suggestions);
  const written = await write(
    task,
    begun.length > 0 ? begun : [{ request: request(prompt.ids, 0), tokens: [], stop: null }],
  );
  const suggestions = limits.suggestions === 0 ? [] : written;
  for (const message of generator.warnings()) yield { type: 'warning', message };
  yield {
    type: 'completed',
    suggestions: suggestions.map(({ tokens, stop }) => ({ tokens, stop: stop ?? 'cancelled' })),
    fills: prompt.fills,
    promptTokens: prompt.ids.length,
    rememberedTokens: rememberedTokens ?? 0,
  };
}

/** What suggestions of one gap have in common. */
interface Task {
  readonly session: Session;
  readonly gap: Gap;
  /** Nobody waits any more. */
  readonly isOver: () => boolean;
  /** As a share of the time after which what is there is shown. */
  readonly timeGone: () => number;
  readonly onPrompt: (rememberedTokens: number) => void;
}

/** A suggestion while it is written. */
interface Writing {
  readonly request: BatchRequest;
  readonly tokens: TokenRecord[];
  stop: StopReason | null;
}

type Ask = (ids: readonly number[], maxTokens: number) => BatchRequest;

/**
 * How suggestions begin: with the tokens that say the fragment and go on, the likeliest first, so that several differ from the
 * beginning on. One without a fragment begins with nothing.
 */
async function beginnings(
  task: Task,
  ask: Ask,
  prompt: GapPrompt,
  tokenizer: FimTokenizer,
  maxTokens: number,
  most: number,
): Promise<Writing[]> {
  const from = (ids: readonly number[], tokens: TokenRecord[] = []): Writing => ({
    request: ask(ids, Math.max(0, maxTokens - tokens.length)),
    tokens,
    stop: null,
  });
  let { ids, fragment } = prompt;
  let before: TokenRecord[] = [];
  for (;;) {
    if (fragment === '' && most === 1) return [from(ids, before)];
    const first = await firstToken(task, ask, ids);
    if (first === null) return [];
    const { record, likely } = first;
    const fitting = likely.find(({ text }) => text.startsWith(fragment) || fragment.startsWith(text));
    if (fitting && fitting.text.trim() === '' && fitting.text.length < fragment.length) {
      // Most vocabularies give a word its last blank: the indent before it is a token of its own.
      [ids, fragment] = [[...ids, fitting.id], fragment.slice(fitting.text.length)];
      continue;
    }
    const saying = likely.filter(({ text }) => text.startsWith(fragment)).slice(0, most);
    const said = saying.map(({ id, text, probability }): { ids: readonly number[]; tokens: TokenRecord[] } => {
      const token = { ...record, id, text: text.slice(fragment.length), confidence: probability };
      return { ids: [...ids, id], tokens: token.text === '' ? before : [...before, token] };
    });
    if (most === 1 ? said.length > 0 : said.length > 1 || fragment === '')
      return said.map((each) => from(each.ids, each.tokens));
    const [only] = said;
    const part = likely.find(({ text }) => fragment.startsWith(text));
    // One goes on with the word: the others differ behind it.
    if (only) [ids, before, fragment] = [only.ids, only.tokens, ''];
    else if (part) [ids, fragment] = [[...ids, part.id], fragment.slice(part.text.length)];
    else [ids, fragment] = [[...ids, ...tokenizer.encodePlain(fragment)], ''];
  }
}

/** The likeliest tokens behind a prompt, less those that end the text; null where nobody waits any more. */
async function firstToken(
  task: Task,
  ask: Ask,
  ids: readonly number[],
): Promise<{ record: TokenRecord; likely: readonly Candidate[] } | null> {
  const one = ask(ids, 1);
  // What ends the text is a token like others here: the fragment comes first.
  const request = { ...one, stopStrings: [], endOfText: [], alternatives: mostCandidates };
  const [writing] = await write({ ...task, timeGone: () => 0 }, [{ request, tokens: [], stop: null }]);
  const [record] = writing!.tokens;
  if (record === undefined) return null;
  const { alternatives = [], ...rest } = record;
  const isText = ({ id, text }: Candidate): boolean =>
    !one.endOfText.includes(id) && text !== '' && !text.includes('\uFFFD');
  return { record: rest, likely: alternatives.filter(isText) };
}

/** Writes all to their end, or as far as there is time. */
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

/** After half of the time a whole line is shown at once, after all of it a word: what comes behind is asked for ahead. */
const isEnough = (text: string, timeGone: number): boolean =>
  (timeGone > 0.5 && hasWholeLine(text)) || (timeGone > 1 && hasWholeWord(text));

/** Whether its whole lines already run into what stands behind the gap. */
function saysNothingNew(text: string, gap: Gap): boolean {
  const lines = text.slice(0, text.lastIndexOf('\n') + 1);
  return lines.trim() !== '' && newLength(lines, gap) < lines.trimEnd().length;
}

const tokenizers = new WeakMap<Generator, FimTokenizer>();

/** One that remembers what it has encoded, from one gap to the next. */
function rememberedTokenizer(generator: Generator): FimTokenizer {
  const known = tokenizers.get(generator) ?? rememberingTokenizer(generator.tokenizer);
  tokenizers.set(generator, known);
  return known;
}

/** Tokens of the longest prompt under these limits, with what it says. */
const limitsLength = (limits: CompletionLimits): number =>
  limits.prefixTokens + limits.suffixTokens + limits.chunkTokens + limits.maxTokens + namesTokens;
const namesTokens = 256;
