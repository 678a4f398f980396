/** Conversations as text and tokens, through the model's own chat template. */
import { userError } from '../../../protocol/errors.ts';
import { shorten } from '../../formats/safetensors.ts';
import { commonLength } from '../common-length.ts';
import { renderTemplate } from './template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

/** One turn. Further keys (tool calls …) are the template's business. */
export interface Message {
  readonly role: string;
  readonly content: string;
  readonly [key: string]: unknown;
}

export interface EncodedChat {
  readonly ids: readonly number[];
  /** For each token, whether it is the assistant's, including the end of its turn. */
  readonly isAssistant: readonly boolean[];
}

export interface ChatOptions {
  /** Whether the text ends with the beginning of the assistant's answer. */
  readonly addGenerationPrompt?: boolean;
  /** Functions that the model may call, as its template takes them; null: none. */
  readonly tools?: readonly unknown[] | null;
  /** Further values by the template's names for them; none takes the place of the conversation. */
  readonly values?: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The text of a conversation, as Transformers' apply_chat_template formats it (blocks trimmed, `bos_token` … defined). Throws `unsupported`
 * without a template that can be used, `bad-data` if the template refuses, `cancelled`.
 */
export async function renderChat(
  tokenizer: Tokenizer,
  messages: readonly Message[],
  { addGenerationPrompt = false, tools = null, values = {}, signal }: ChatOptions = {},
): Promise<string> {
  const { chatTemplate, namedTokens, path } = tokenizer;
  if (chatTemplate === null)
    throw userError(
      'unsupported',
      `The model of ${path} has no chat template.`,
      'Use a chat model, put a chat_template.jinja beside its tokenizer.json, or use plain text.',
    );
  const all = { ...namedTokens, ...values, messages, tools, add_generation_prompt: addGenerationPrompt };
  const rendered = await renderTemplate(chatTemplate, all, signal);
  switch (rendered.type) {
    case 'text':
      return rendered.text;
    case 'unreadable':
      throw userError(
        'unsupported',
        `The chat template of ${path} cannot be read: ${shorten(rendered.reason)}.`,
        otherTemplate,
      );
    case 'over':
      throw userError('unsupported', `The chat template of ${path} ${overBudget[rendered.of]}.`, otherTemplate);
    case 'refused':
      throw userError(
        'bad-data',
        `The chat template of ${path} refuses the conversation: ${shorten(rendered.reason)}.`,
        'Order the turns as the model expects them (often user and assistant in turn), or use another template.',
      );
  }
}

const otherTemplate = 'Put another chat_template.jinja beside the tokenizer.json, or use plain text.';
const overBudget = {
  steps: 'takes more steps than any conversation needs',
  output: 'writes more text than any conversation has',
  memory: 'takes more memory than any conversation needs',
  time: 'takes longer than any conversation needs',
} as const;

/**
 * Token ids of a whole conversation, and which of them are the assistant's. The template's rendering of each beginning of the conversation
 * must be a beginning of the whole rendering; throws `bad-data`, naming the turn, if it is not.
 */
export async function encodeChat(
  tokenizer: Tokenizer,
  messages: readonly Message[],
  signal?: AbortSignal,
): Promise<EncodedChat> {
  const whole = await renderChat(tokenizer, messages, { signal });
  const ids = encode(tokenizer, whole);
  const isAssistant = new Array<boolean>(ids.length).fill(false);
  for (const [turn, { role }] of messages.entries()) {
    if (role !== 'assistant') continue;
    const prompt = await renderChat(tokenizer, messages.slice(0, turn), { addGenerationPrompt: true, signal });
    const answered = await renderChat(tokenizer, messages.slice(0, turn + 1), { signal });
    if (!whole.startsWith(answered) || !answered.startsWith(prompt)) throw unstable(tokenizer, turn);
    // A token that reaches over a boundary counts to the part it ends in.
    const start = commonLength(ids, encode(tokenizer, prompt));
    const end = commonLength(ids, encode(tokenizer, answered));
    isAssistant.fill(true, start, endOfTurn(tokenizer, ids, start, end));
  }
  return { ids, isAssistant };
}

const encode = (tokenizer: Tokenizer, text: string): number[] => tokenizer.encode(text, { addSpecial: false });

/** What a template writes after the end of a turn (often a newline) is never generated, so it is not the assistant's. */
function endOfTurn(tokenizer: Tokenizer, ids: readonly number[], start: number, end: number): number {
  for (let i = end - 1; i >= start; i--) if (tokenizer.eosIds.includes(ids[i]!)) return i + 1;
  return end;
}

const unstable = (tokenizer: Tokenizer, turn: number): Error =>
  userError(
    'bad-data',
    `The chat template of ${tokenizer.path} rewrites earlier turns: turns 1 to ${turn + 1} look different once later ones follow.`,
    'Tune on conversations with a single answer, or put a template that leaves earlier turns as they are into chat_template.jinja.',
  );
