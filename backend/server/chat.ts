/** `/v1/chat/completions`: OpenAI's request and answer, through the model's own chat template. */
import { userError } from '../../protocol/errors.ts';
import type { ServedChat, ServedMessage } from '../../protocol/serving.ts';
import type { TokenRecord } from '../../protocol/trace.ts';
import { exitsOf, finishReason, usageOf, type WrittenText } from './answers.ts';
import { ofWritten } from './completions.ts';
import { streamOptions, type Endpoint, type Head } from './endpoint.ts';
import {
  badField,
  countField,
  flagField,
  isEmpty,
  isRecord,
  listField,
  recordField,
  refuseFields,
  type Body,
} from './fields.ts';
import { wantsExits } from './how.ts';
import { askedTokens, checkModel, requestOf } from './requests.ts';
import type { Served } from './served.ts';

/** As OpenAI has it. */
const mostAlternatives = 20;

export function chatCompletions(body: Body, served: Served): Endpoint {
  checkModel(body, served);
  refuseFields(body, {
    functions: isEmpty,
    tool_choice: (value) => value === 'auto' || value === 'none',
  });
  const showsLogprobs = flagField(body, 'logprobs') ?? false;
  const top = countField(body, 'top_logprobs', 0, mostAlternatives) ?? 0;
  const request = requestOf(body, served, {
    prompts: [{ kind: 'chat', chat: chatOf(body) }],
    count: countField(body, 'n', 1, 128) ?? 1,
    maxTokens: askedTokens(body, 'max_completion_tokens', 1),
    alternatives: top,
  });
  const showsExits = wantsExits(body);
  const more = (tokens: readonly TokenRecord[]): object => ({
    logprobs: showsLogprobs ? { content: tokens.map((token) => logprobOf(token, top)) } : null,
    ...(showsExits && { early_exit: exitsOf(tokens) }),
  });
  const headed = (head: Head, object: string): object => ({
    id: `chatcmpl-${head.id}`,
    object,
    created: head.created,
    model: served.name,
  });
  const chunk = 'chat.completion.chunk';
  const begun = new Set<number>();
  return {
    request,
    stream: streamOptions(body),
    whole: (texts, head) => ({
      ...headed(head, 'chat.completion'),
      choices: texts.map((text, index) => ({
        index,
        message: { role: 'assistant', content: text.text, refusal: null },
        ...more(text.tokens),
        finish_reason: finishReason(text.reason),
      })),
      usage: usageOf(texts, request.count),
    }),
    piece(event, text: WrittenText, head) {
      const index = event.text;
      const send = (delta: object, tokens: readonly TokenRecord[]): object => ({
        ...headed(head, chunk),
        choices: [{ index, delta, ...more(tokens), finish_reason: finishReason(text.reason) }],
      });
      const first = begun.has(index) ? [] : [send({ role: 'assistant', content: '' }, [])];
      begun.add(index);
      if (event.type === 'read') return first;
      if (event.type === 'stopped') return [...first, send({}, [])];
      return [...first, send({ content: event.tokens.map((token) => token.text).join('') }, event.tokens)];
    },
    usage: (texts, head) => ({ ...headed(head, chunk), choices: [], usage: usageOf(texts, request.count) }),
  };
}

/** The conversation, the functions and whatever else a template is filled with. */
export function chatOf(body: Body): ServedChat {
  const messages = listField(body, 'messages');
  if (messages === undefined || messages.length === 0)
    throw userError('bad-argument', 'messages must be a list of at least one message.');
  const tools = body['tool_choice'] === 'none' ? undefined : listField(body, 'tools');
  return {
    messages: messages.map(messageOf),
    tools: tools === undefined || tools.length === 0 ? null : tools,
    values: recordField(body, 'chat_template_kwargs') ?? {},
  };
}

function messageOf(value: unknown, i: number): ServedMessage {
  const name = `messages[${i}]`;
  if (!isRecord(value)) throw badField(name, 'an object', value);
  const { role, content } = value;
  if (typeof role !== 'string' || role === '') throw badField(`${name}.role`, 'a text', role);
  return { ...value, role, content: contentOf(content, `${name}.content`) };
}

/** A text, or parts that are all text. A turn that only called a function has none. */
function contentOf(content: unknown, name: string): string {
  if (typeof content === 'string') return content;
  if (content === null || content === undefined) return '';
  if (!Array.isArray(content)) throw badField(name, 'a text or a list of parts', content);
  return content
    .map((part: unknown) => {
      if (isRecord(part) && part['type'] === 'text' && typeof part['text'] === 'string') return part['text'];
      throw userError(
        'unsupported',
        `${name} may have parts of type text alone.`,
        'This model reads no pictures or sound.',
      );
    })
    .join('');
}

function logprobOf(record: TokenRecord, top: number): object {
  const { token, logProbability, alternatives } = ofWritten(record);
  const shown = (text: string, logprob: number | null): object => ({
    token: text,
    logprob,
    bytes: [...Buffer.from(text)],
  });
  return {
    ...shown(token, logProbability),
    top_logprobs: alternatives.slice(0, top).map((each) => shown(each.text, each.logProbability)),
  };
}
