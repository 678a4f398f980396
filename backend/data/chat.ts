/** Conversations as text and tokens, through the model's own chat template. */
import { Template } from '@huggingface/jinja';
import { userError } from '../../protocol/errors.ts';
import type { Tokenizer } from './tokenizer.ts';

/** One turn. Further keys (tool calls …) are the template's business. */
export interface Message {
  readonly role: string;
  readonly content: string;
  readonly [key: string]: unknown;
}

export interface EncodedChat {
  readonly ids: readonly number[];
  /** By token: whether the assistant said it, its end of turn included. */
  readonly isAssistant: readonly boolean[];
}

/**
 * The text of a conversation, as Transformers' apply_chat_template gives it (blocks trimmed, `bos_token` … defined).
 * With `addGenerationPrompt` it ends where the assistant's answer begins. Throws `unsupported` without a template, `bad-data` where
 * the template refuses.
 */
export function renderChat(
  tokenizer: Tokenizer,
  messages: readonly Message[],
  { addGenerationPrompt = false }: { readonly addGenerationPrompt?: boolean } = {},
): string {
  try {
    return templateOf(tokenizer).render({
      ...tokenizer.namedTokens,
      messages,
      add_generation_prompt: addGenerationPrompt,
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw userError(
      'bad-data',
      `The chat template of ${tokenizer.path} refuses the conversation: ${reason}.`,
      'Order the turns as the model expects them (often user and assistant in turn), or use another template.',
      error,
    );
  }
}

/**
 * Token ids of a whole conversation and which of them the assistant said. The template's rendering of each beginning of the
 * conversation must be a beginning of the whole rendering; throws `bad-data`, naming the turn, where it is not.
 */
export function encodeChat(tokenizer: Tokenizer, messages: readonly Message[]): EncodedChat {
  const whole = renderChat(tokenizer, messages);
  const ids = encode(tokenizer, whole);
  const isAssistant = new Array<boolean>(ids.length).fill(false);
  messages.forEach(({ role }, turn) => {
    if (role !== 'assistant') return;
    const prompt = renderChat(tokenizer, messages.slice(0, turn), { addGenerationPrompt: true });
    const answered = renderChat(tokenizer, messages.slice(0, turn + 1));
    if (!whole.startsWith(answered) || !answered.startsWith(prompt)) throw unstable(tokenizer, turn);
    const start = commonPrefix(ids, encode(tokenizer, prompt));
    const end = commonPrefix(ids, encode(tokenizer, answered));
    isAssistant.fill(true, start, endOfTurn(tokenizer, ids, start, end));
  });
  return { ids, isAssistant };
}

const encode = (tokenizer: Tokenizer, text: string): number[] => tokenizer.encode(text, { addSpecial: false });

// Parsing costs more than rendering, and a dataset renders one template for every turn.
const templates = new WeakMap<Tokenizer, Template>();

function templateOf(tokenizer: Tokenizer): Template {
  const known = templates.get(tokenizer);
  if (known !== undefined) return known;
  if (tokenizer.chatTemplate === null)
    throw userError(
      'unsupported',
      `The model of ${tokenizer.path} has no chat template.`,
      'Use a chat model, put a chat_template.jinja beside its tokenizer.json, or use plain text.',
    );
  let template: Template;
  try {
    template = new Template(tokenizer.chatTemplate);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw userError(
      'unsupported',
      `The chat template of ${tokenizer.path} cannot be read: ${reason}.`,
      undefined,
      error,
    );
  }
  templates.set(tokenizer, template);
  return template;
}

/** What a template writes after the end of a turn (often a newline) nobody generates, so it is not the assistant's. */
function endOfTurn(tokenizer: Tokenizer, ids: readonly number[], start: number, end: number): number {
  for (let i = end - 1; i >= start; i--) if (tokenizer.eosIds.includes(ids[i]!)) return i + 1;
  return end;
}

/** A token that reaches over the boundary counts to the part it ends in. */
function commonPrefix(ids: readonly number[], beginning: readonly number[]): number {
  let length = 0;
  while (length < beginning.length && ids[length] === beginning[length]) length += 1;
  return length;
}

const unstable = (tokenizer: Tokenizer, turn: number): Error =>
  userError(
    'bad-data',
    `The chat template of ${tokenizer.path} rewrites earlier turns: what it makes of turns 1 to ${turn + 1} is not how the whole conversation begins.`,
    'Tune on conversations with a single answer, or put a template without that into chat_template.jinja.',
  );
