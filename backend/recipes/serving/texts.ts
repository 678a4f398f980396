/** Turns a request's prompts into tokens, and answers questions to the tokenizer, in steps. */
import { plural } from '../../../protocol/plural.ts';
import { userError } from '../../../protocol/errors.ts';
import type { Answers, Question, ServedChat, ServedGap, ServedPrompt } from '../../../protocol/serving.ts';
import { renderChat } from '../../data/prompts/chat.ts';
import { requireFim, type FimTokenizer } from '../../data/prompts/fim.ts';
import { gapPrompt, splitPrefix, withoutHealing } from '../../data/prompts/gap-prompt.ts';
import type { Begun } from '../../data/prompts/healing.ts';
import type { Steps } from '../../data/steps.ts';
import type { Tokenizer } from '../../data/tokenizer/tokenizer.ts';

export interface EncodedPrompt {
  readonly ids: readonly number[];
  /** Tokens of the prompt as it came, with those that were taken off its end. */
  readonly tokens: number;
  /** What the text must begin with, since it was taken off. */
  readonly begun: Begun | null;
  /** Tokens that end its text beside the model's own. */
  readonly ends: readonly number[];
  /** Other texts of the request, in tokens, which the prompt may contain only in part: drafts may come from them. */
  readonly others: readonly (readonly number[])[];
}

/** A prompt whose conversation is already rendered as a text. */
export type PlainPrompt =
  Exclude<ServedPrompt, { readonly kind: 'chat' }> | { readonly kind: 'rendered'; readonly text: string };

/** Most tokens of a prompt with a gap: before and behind it as llama.cpp's server takes them by default, and of other files what is left. */
const gapLimits = { prefixTokens: 1536, suffixTokens: 512, chunkTokens: Infinity };

/** What a prompt must leave room for. */
export interface PromptRoom {
  /** Most tokens of a text, prompt included. */
  readonly contextLength: number;
  /** Number of tokens requested. */
  readonly maxTokens: number;
  /** Whether texts that end in blanks or inside a word are taken back to the beginning of their last tokens. */
  readonly heals: boolean;
  /** Whether a text that is too long is cut off at its end. */
  readonly cuts: boolean;
}

/** A prompt whose conversation, if it is one, is rendered. */
export const plainPrompt = async (
  prompt: ServedPrompt,
  rendered: (chat: ServedChat) => Promise<string>,
): Promise<PlainPrompt> => (prompt.kind === 'chat' ? { kind: 'rendered', text: await rendered(prompt.chat) } : prompt);

/** @throws UserError for ids that are none, a text that is too long, a model that does not fill in the middle. */
export function* encodePrompt(prompt: PlainPrompt, tokenizer: Tokenizer, room: PromptRoom): Steps<EncodedPrompt> {
  switch (prompt.kind) {
    case 'text':
    case 'rendered':
      return encoded(
        yield* encodeFitting(prompt, tokenizer, room),
        room.heals && prompt.kind === 'text' ? tokenizer : null,
      );
    case 'ids':
      // A client that sends ids wants exactly these tokens, so nothing is taken off their end.
      checkIds(prompt.ids, tokenizer);
      return encoded(prompt.ids, null);
    case 'gap':
      return yield* encodeGap(prompt.gap, tokenizer, room);
  }
}

function encoded(ids: readonly number[], healer: Pick<Tokenizer, 'heal'> | null): EncodedPrompt {
  const healed = healer === null ? { ids, begun: null } : healer.heal(ids);
  return { ...healed, tokens: ids.length, ends: [], others: [] };
}

/** A text that cannot fit is given up as soon as that is known: by its length, else by the ids that there are. */
function* encodeFitting(
  { kind, text }: { readonly kind: 'text' | 'rendered'; readonly text: string },
  tokenizer: Tokenizer,
  { contextLength, cuts }: PromptRoom,
): Steps<number[]> {
  const check = (least: number): void => {
    if (least < contextLength || cuts) return;
    const sizes = `at least ${plural(least, 'token')}, but the model sees ${contextLength}`;
    throw userError('bad-argument', `The prompt has ${sizes}.`, 'Shorten it.');
  };
  check(tokenizer.leastIds(text));
  const steps = tokenizer.encodeSteps(text, { addSpecial: kind === 'text' });
  for (;;) {
    const step = steps.next();
    // The caller checks the final number.
    if (step.done) return cuts ? step.value.slice(0, contextLength - 1) : step.value;
    check(step.value);
    yield;
  }
}

/** As much of the text around a gap as there is room for. Its parts are encoded in steps, and then put together. */
function* encodeGap(
  gap: ServedGap,
  tokenizer: Tokenizer,
  { contextLength, maxTokens, heals }: PromptRoom,
): Steps<EncodedPrompt> {
  requireFim(tokenizer);
  const { settled, begun: fresh } = splitPrefix(gap.prefix);
  const settledIds = yield* tokenizer.encodePlainSteps(settled);
  const inside = new Map<string, number[]>();
  for (const text of [fresh, gap.suffix, ...gap.chunks.map((chunk) => chunk.text)])
    inside.set(text, yield* tokenizer.encodeInsideSteps(text));
  // A request for as many tokens as the context has still gets half of the context for its prompt.
  const limits = { ...gapLimits, maxTokens: Math.min(maxTokens, Math.floor(contextLength / 2)) };
  const encoder: FimTokenizer = {
    ...tokenizer,
    encodePlain: (text) => (text === settled ? settledIds : tokenizer.encodePlain(text)),
    encodeInside: (text) => inside.get(text) ?? tokenizer.encodeInside(text),
  };
  return gapPrompt(heals ? encoder : withoutHealing(encoder), gap, limits, contextLength);
}

/** Ids that are looked at in one step. */
const idsOfStep = 8192;

/** Answers a question to the tokenizer. */
export function* answer(
  question: Exclude<Question, { readonly kind: 'template' }>,
  tokenizer: Tokenizer,
): Steps<Answers['tokenize' | 'detokenize']> {
  switch (question.kind) {
    case 'tokenize': {
      const { text, addSpecial, parseSpecial, withPieces } = question;
      const start = addSpecial && tokenizer.startId !== null ? [tokenizer.startId] : [];
      const given = parseSpecial
        ? yield* tokenizer.encodeSteps(text, { addSpecial })
        : start.concat(yield* tokenizer.encodePlainSteps(text));
      const ids = Int32Array.from(given);
      return { ids, pieces: withPieces ? yield* piecesOf(ids, tokenizer) : null };
    }
    case 'detokenize':
      checkIds(question.ids, tokenizer);
      return yield* tokenizer.decodeSteps(question.ids);
  }
}

function* piecesOf(ids: Int32Array, tokenizer: Tokenizer): Steps<Map<number, string>> {
  const pieces = new Map<number, string>();
  for (const [i, id] of ids.entries()) {
    if (!pieces.has(id)) pieces.set(id, tokenizer.tokenText(id));
    if (i % idsOfStep === idsOfStep - 1) yield;
  }
  return pieces;
}

/** The text that a chat template makes of a conversation. @throws UserError for a template that refuses, or once the signal fires. */
export const render = async (
  { messages, begun, ...chat }: ServedChat,
  tokenizer: Tokenizer,
  signal: AbortSignal,
): Promise<string> => (await renderChat(tokenizer, messages, { ...chat, addGenerationPrompt: true, signal })) + begun;

function checkIds(ids: readonly number[], { vocabularySize }: Tokenizer): void {
  const wrong = ids.find((id) => id >= vocabularySize);
  if (wrong !== undefined)
    throw userError('bad-argument', `There is no token ${wrong}: the model has ${vocabularySize}.`);
}
