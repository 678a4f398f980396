/** A request's prompts as tokens, and what is asked of the tokenizer alone. */
import { userError } from '../../protocol/errors.ts';
import type { Answers, Question, ServedChat, ServedPrompt } from '../../protocol/serving.ts';
import { renderChat } from '../data/chat.ts';
import { fimPrompt, llamaBudget } from '../data/fim.ts';
import type { Tokenizer } from '../data/tokenizer.ts';

export interface EncodedPrompt {
  readonly ids: readonly number[];
  /** Tokens that end its text beside the model's own. */
  readonly ends: readonly number[];
}

/** What llama.cpp's server takes for its batch: how much of a prefix and a suffix counts. */
const fimBatch = 2048;
/** Tokens beside those parts: before a text, before the middle, and a first one of what is written. */
const fimMarks = 3;

/** What a prompt must leave room for. */
export interface PromptRoom {
  /** Most tokens of a text, prompt included. */
  readonly contextLength: number;
  /** Tokens that are asked for. */
  readonly maxTokens: number;
}

/** @throws UserError for ids that are none, a template that refuses, a model that does not fill in the middle. */
export async function encodePrompt(
  prompt: ServedPrompt,
  tokenizer: Tokenizer,
  { contextLength, maxTokens }: PromptRoom,
  signal: AbortSignal,
): Promise<EncodedPrompt> {
  switch (prompt.kind) {
    case 'text':
      return { ids: tokenizer.encode(prompt.text), ends: [] };
    case 'ids':
      checkIds(prompt.ids, tokenizer);
      return { ids: prompt.ids, ends: [] };
    case 'chat': {
      const rendered = await render(prompt.chat, tokenizer, signal);
      return { ids: tokenizer.encode(rendered, { addSpecial: false }), ends: [] };
    }
    case 'gap': {
      const { begun, ...gap } = prompt.gap;
      const ids = tokenizer.encode(begun, { addSpecial: false });
      const room = contextLength - fimMarks;
      // Who asks for as many tokens as there are still has half of them read.
      const asked = Math.min(maxTokens, Math.floor(room / 2));
      const batch = Math.min(fimBatch, room - asked);
      const budget = llamaBudget(batch, room, asked, ids.length);
      return { ids: fimPrompt(tokenizer, { ...gap, begun: ids }, budget), ends: tokenizer.fim?.ends ?? [] };
    }
  }
}

export async function answer(
  question: Question,
  tokenizer: Tokenizer,
  signal: AbortSignal,
): Promise<Answers[Question['kind']]> {
  switch (question.kind) {
    case 'tokenize': {
      const { text, addSpecial, parseSpecial } = question;
      const ids = parseSpecial
        ? tokenizer.encode(text, { addSpecial })
        : [...(addSpecial && tokenizer.startId !== null ? [tokenizer.startId] : []), ...tokenizer.encodePlain(text)];
      return ids.map((id) => ({ id, piece: tokenizer.tokenText(id) }));
    }
    case 'detokenize':
      checkIds(question.ids, tokenizer);
      return tokenizer.decode(question.ids);
    case 'template':
      return render(question.chat, tokenizer, signal);
  }
}

const render = ({ messages, ...chat }: ServedChat, tokenizer: Tokenizer, signal: AbortSignal): Promise<string> =>
  renderChat(tokenizer, messages, { ...chat, addGenerationPrompt: true, signal });

function checkIds(ids: readonly number[], { vocabularySize }: Tokenizer): void {
  const wrong = ids.find((id) => id >= vocabularySize);
  if (wrong !== undefined)
    throw userError('bad-argument', `There is no token ${wrong}: the model has ${vocabularySize}.`);
}
