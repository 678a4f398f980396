/** A request for the next turn of a conversation: what every chat API becomes. Knows no shape of an answer. */
import { userError } from '../../../protocol/errors.ts';
import { isRecord } from '../../../protocol/foreign.ts';
import type { ServedChat, ServedMessage, WriteRequest } from '../../../protocol/serving.ts';
import { badField, countField, flagField, isEmpty, listField, recordField, refuseFields, type Body } from './fields.ts';
import { mostLevels, newNestingMeter } from '../http/nesting.ts';
import { requestedTokens, checkModel, requestOf } from './requests.ts';
import type { Served } from '../served.ts';
import { callGrammar, callReader, plainReader, toolChoiceOf, toolsOf, type CallReader } from './tools.ts';

/** As OpenAI has it. */
const mostAlternatives = 20;

export interface ChatRequest {
  readonly request: WriteRequest;
  /** Number of most probable tokens that are reported with each token. */
  readonly alternatives: number;
  readonly showsLogprobs: boolean;
  /** Finds calls in one text. */
  readonly reader: () => CallReader;
  /** Whether there may be any. */
  readonly mayCall: boolean;
}

/** A body as OpenAI's chats have it. @throws UserError for what cannot be done. */
export function chatRequest(body: Body, served: Served): ChatRequest {
  checkModel(body, served);
  refuseFields(body, { functions: isEmpty });
  const chat = chatOf(body);
  const tools = toolsOf(listField(body, 'tools') ?? []);
  const choice = toolChoiceOf(body, tools);
  const mayCall = tools.length > 0 && choice.kind !== 'none';
  const mostCalls = (flagField(body, 'parallel_tool_calls') ?? true) ? Infinity : 1;
  const showsLogprobs = flagField(body, 'logprobs') ?? false;
  const alternatives = countField(body, 'top_logprobs', 0, mostAlternatives) ?? 0;
  const request = requestOf(body, served, {
    prompts: [{ kind: 'chat', chat }],
    count: countField(body, 'n', 1, 128) ?? 1,
    maxTokens: requestedTokens(body, 'max_completion_tokens', 1),
    alternatives,
    isMeasured: showsLogprobs,
    grammar: callGrammar(choice, tools, served.model.chatTemplate),
  });
  // A text that must be JSON is an answer, and no call, however it looks.
  const reads = mayCall && (request.grammar === null || choice.kind !== 'auto');
  return {
    request,
    alternatives,
    showsLogprobs,
    mayCall: reads,
    reader: () => (reads ? callReader(tools, mostCalls) : plainReader()),
  };
}

/** The conversation, the functions and whatever else a template is filled with. */
export function chatOf(body: Body): ServedChat {
  const messages = listField(body, 'messages');
  if (messages === undefined || messages.length === 0)
    throw userError('bad-argument', 'messages must be a list of at least one message.');
  const tools = body['tool_choice'] === 'none' ? undefined : listField(body, 'tools');
  const turns = messages.map(messageOf);
  const last = flagField(body, goesOn) ? turns.pop() : undefined;
  if (last && (last.role !== 'assistant' || turns.length === 0 || last['tool_calls'] !== undefined))
    throw userError('bad-argument', `With ${goesOn}, the last of several messages must be a text of the assistant.`);
  return {
    messages: turns,
    tools: tools === undefined || tools.length === 0 ? null : tools,
    begun: last?.content ?? '',
    values: recordField(body, 'chat_template_kwargs') ?? {},
  };
}

/** Whether the last message, which is the assistant's, is the beginning of the answer; as vLLM calls it. */
const goesOn = 'continue_final_message';

/** A body whose answer goes on from its last message if that is a text of the assistant, as clients of Anthropic and Ollama expect. */
export function goingOn(body: Body): Body {
  const messages = listField(body, 'messages') ?? [];
  const last = messages.at(-1);
  const isBegun =
    messages.length > 1 && isRecord(last) && last['role'] === 'assistant' && last['tool_calls'] === undefined;
  return { ...body, [goesOn]: isBegun };
}

function messageOf(value: unknown, i: number): ServedMessage {
  const name = `messages[${i}]`;
  if (!isRecord(value)) throw badField(name, 'an object', value);
  const { role, content } = value;
  if (typeof role !== 'string' || role === '') throw badField(`${name}.role`, 'a text', role);
  const { tool_calls: calls } = value;
  const called = Array.isArray(calls) ? { tool_calls: calls.map(asCalled) } : {};
  // OpenAI's newer name for what templates know.
  const known = role === 'developer' ? 'system' : role;
  return { ...value, ...called, role: known, content: contentOf(content, `${name}.content`) };
}

/** Templates have a call's arguments as an object, OpenAI as its text. */
function asCalled(call: unknown): unknown {
  if (!isRecord(call) || !isRecord(call['function'])) return call;
  const { arguments: given, ...named } = call['function'];
  return { ...call, function: { ...named, arguments: typeof given === 'string' ? objectIn(given) : given } };
}

/** The object that a text has; another text stays as it is. @throws UserError for one that is nested too deep to be handed on. */
function objectIn(text: string): unknown {
  if (newNestingMeter()(Buffer.from(text)) > mostLevels)
    throw userError('bad-argument', `Arguments of a call are nested deeper than ${mostLevels} lists and objects.`);
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : text;
  } catch {
    return text;
  }
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
