/** What was written for a request so far: the texts that every shape of answer is made of. Knows no shape. */
import type { AcceptedEvent, PromptToken, TextEvent } from '../../../protocol/serving.ts';
import type { StopReason, TokenRecord } from '../../../protocol/trace.ts';

export interface WrittenText {
  text: string;
  readonly tokens: TokenRecord[];
  prompt: readonly PromptToken[];
  promptTokens: number;
  remembered: number;
  reason: StopReason | null;
  /** The requested stop string that ended it. */
  stop: string | null;
  embedding: Float32Array | null;
  /** When it was requested, when its prompt was read (null: it was not), and when it ended; milliseconds. */
  readonly requestedAt: number;
  read: number | null;
  ended: number;
  /** Milliseconds that its prompt took, without waiting for its turn. */
  reading: number;
}

export const newTexts = (count: number): WrittenText[] =>
  Array.from({ length: count }, () => ({
    text: '',
    tokens: [],
    prompt: [],
    promptTokens: 0,
    remembered: 0,
    reason: null,
    stop: null,
    embedding: null,
    requestedAt: performance.now(),
    read: null,
    ended: 0,
    reading: 0,
  }));

/** Milliseconds from the prompt's end to the text's. */
export const writingTime = ({ read, ended }: WrittenText): number => (read === null ? 0 : Math.max(0, ended - read));

/** Adds an event to its text. */
export function take(texts: readonly WrittenText[], event: TextEvent): WrittenText {
  const text = texts[event.text]!;
  switch (event.type) {
    case 'read':
      text.promptTokens = event.tokens;
      text.remembered = event.remembered;
      text.prompt = event.prompt;
      text.embedding = event.embedding;
      text.read = performance.now();
      text.reading = event.milliseconds;
      return text;
    case 'written':
      for (const token of event.tokens) {
        text.tokens.push(token);
        text.text += token.text;
      }
      return text;
    case 'stopped':
      text.reason = event.reason;
      text.stop = event.stop;
      text.ended = performance.now();
      return text;
  }
}

/** Everything, once it is there. */
export async function collect(events: AsyncIterable<AcceptedEvent | TextEvent>, count: number): Promise<WrittenText[]> {
  const texts = newTexts(count);
  for await (const event of events) if (event.type !== 'accepted') take(texts, event);
  return texts;
}

/** As OpenAI counts: each prompt once, however many texts follow it. */
export function usageOf(texts: readonly WrittenText[], perPrompt: number): object {
  const prompts = texts.filter((_, i) => i % perPrompt === 0);
  const sum = (of: (text: WrittenText) => number, all: readonly WrittenText[]): number =>
    all.reduce((total, text) => total + of(text), 0);
  const prompt = sum(({ promptTokens }) => promptTokens, prompts);
  const completion = sum(({ tokens }) => tokens.length, texts);
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: sum(({ remembered }) => remembered, prompts) },
  };
}

const isCutOff = (reason: StopReason): boolean => ['length', 'context-full', 'cancelled'].includes(reason);

export const finishReason = (reason: StopReason | null): 'stop' | 'length' | null =>
  reason === null ? null : isCutOff(reason) ? 'length' : 'stop';

/** The exits at which tokens left, for a client that sends `early_exit`. */
export const exitsOf = (tokens: readonly TokenRecord[]): object => ({
  mean_layer: tokens.length === 0 ? 0 : tokens.reduce((sum, { layer }) => sum + layer, 0) / tokens.length,
  tokens: tokens.map(({ id, text, layer, exit, confidence, draft, opinions }) => ({
    id,
    text,
    layer,
    exit,
    confidence,
    ...(draft && { draft }),
    ...(opinions && { opinions }),
  })),
});
