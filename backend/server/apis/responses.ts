/** `/v1/responses`: OpenAI's request and answer in items, over the same chat. Nothing is kept: each request brings its whole conversation. */
import { userError } from '../../../protocol/errors.ts';
import { isRecord } from '../../../protocol/foreign.ts';
import type { WriteRequest } from '../../../protocol/serving.ts';
import { finishReason, type WrittenText } from './answers.ts';
import { chatRequest } from './chat-request.ts';
import { streamOptions, type Endpoint, type Head } from './endpoint.ts';
import {
  badField,
  flagField,
  isEmpty,
  isOne,
  listField,
  recordField,
  refuseFields,
  textField,
  without,
  type Body,
} from './fields.ts';
import type { Served } from '../served.ts';
import { callId, turnOf, type Turn } from './tools.ts';

export function responses(body: Body, served: Served): Endpoint {
  refuseFields(body, {
    previous_response_id: (id) => id === '',
    background: (value) => value === false,
    prompt: isEmpty,
    n: isOne,
  });
  const { request, reader } = chatRequest(chatBody(body), served);
  const shown = shownFields(body);
  const shell = (head: Head): Body => shellOf({ ...body, ...shown }, served, request, head);
  const read = reader();
  const events = newItemEvents();
  return {
    request,
    stream: streamOptions(body),
    format: 'named-events',
    whole: ([text], head) => wholeOf(shell(head), text!, turnOf(text!.text, reader()), head),
    piece(answerEvent, text, head) {
      if (answerEvent.type === 'read')
        return ['response.created', 'response.in_progress'].map((type) =>
          events.event(type, { response: shell(head) }),
        );
      if (answerEvent.type === 'written')
        return events.text(read.push(answerEvent.tokens.map((token) => token.text).join('')), head);
      const { text: rest, calls } = read.end();
      const last = events.text(rest, head);
      const { shown, closing } = events.close(head);
      const turn = { text: shown ?? '', calls };
      const items = callsOf(turn, head).flatMap((item, i) => events.call(item, (shown === null ? 0 : 1) + i));
      const type = isCut(text) ? 'response.incomplete' : 'response.completed';
      const end = events.event(type, { response: wholeOf(shell(head), text, turn, head) });
      return [...last, ...closing, ...items, end];
    },
    usage: () => null,
  };
}

const isCut = ({ reason }: WrittenText): boolean => finishReason(reason) === 'length';

/** Fields that are only shown again, read before anything is written. */
const shownFields = (body: Body): Body => ({
  metadata: recordField(body, 'metadata') ?? {},
  text: recordField(body, 'text') ?? { format: { type: 'text' } },
  parallel_tool_calls: flagField(body, 'parallel_tool_calls') ?? true,
});

/** A response without text: the request's own fields, and those that follow from them. */
const shellOf = (body: Body, { name }: Served, { options }: WriteRequest, { id, created }: Head): Body => ({
  id: `resp_${id}`,
  object: 'response',
  created_at: created,
  status: 'in_progress',
  error: null,
  incomplete_details: null,
  instructions: body['instructions'] ?? null,
  max_output_tokens: body['max_output_tokens'] ?? null,
  metadata: body['metadata'],
  model: name,
  output: [],
  parallel_tool_calls: body['parallel_tool_calls'],
  previous_response_id: null,
  reasoning: { effort: null, summary: null },
  store: false,
  temperature: options.temperature,
  text: body['text'],
  tool_choice: body['tool_choice'] ?? 'auto',
  tools: listField(body, 'tools') ?? [],
  top_p: options.topP,
  truncation: 'disabled',
  usage: null,
  user: null,
});

/** A response that is over. */
const wholeOf = (shell: Body, text: WrittenText, turn: Turn, head: Head): object => ({
  ...shell,
  status: isCut(text) ? 'incomplete' : 'completed',
  incomplete_details: isCut(text) ? { reason: 'max_output_tokens' } : null,
  output: [...(turn.text === '' && turn.calls.length > 0 ? [] : [messageOf(turn.text, head)]), ...callsOf(turn, head)],
  usage: {
    input_tokens: text.promptTokens,
    input_tokens_details: { cached_tokens: text.remembered },
    output_tokens: text.tokens.length,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: text.promptTokens + text.tokens.length,
  },
});

const messageOf = (text: string, head: Head): object => ({
  type: 'message',
  id: `msg_${head.id}`,
  status: 'completed',
  role: 'assistant',
  content: [partOf(text)],
});

const callsOf = ({ calls }: Turn, head: Head): Body[] =>
  calls.map((call, i) => ({
    type: 'function_call',
    id: `fc_${head.id}_${i}`,
    call_id: callId(head, 0, i),
    name: call.name,
    arguments: call.arguments,
    status: 'completed',
  }));

/** The events of a stream, which are numbered, and of its items: a message, once there is something of it, and calls behind it. */
interface ItemEvents {
  event(type: string, more: object): object;
  text(text: string, head: Head): object[];
  /** Ends the message; `shown`: its text, null if there is none. */
  close(head: Head): { readonly shown: string | null; readonly closing: object[] };
  call(item: Body, at: number): object[];
}

function newItemEvents(): ItemEvents {
  let number = 0;
  let shown: string | null = null;
  const event = (type: string, more: object): object => ({ type, sequence_number: number++, ...more });
  const placeOf = (head: Head): object => ({ item_id: `msg_${head.id}`, output_index: 0, content_index: 0 });
  return {
    event,
    text(text, head) {
      if (text === '') return [];
      const place = placeOf(head);
      const item = { type: 'message', id: `msg_${head.id}`, status: 'in_progress', role: 'assistant', content: [] };
      const opening =
        shown === null
          ? [
              event('response.output_item.added', { output_index: 0, item }),
              event('response.content_part.added', { ...place, part: partOf('') }),
            ]
          : [];
      shown = (shown ?? '') + text;
      return [...opening, event('response.output_text.delta', { ...place, delta: text, logprobs: [] })];
    },
    close(head) {
      if (shown === null) return { shown, closing: [] };
      const place = placeOf(head);
      const closing = [
        event('response.output_text.done', { ...place, text: shown, logprobs: [] }),
        event('response.content_part.done', { ...place, part: partOf(shown) }),
        event('response.output_item.done', { output_index: 0, item: messageOf(shown, head) }),
      ];
      return { shown, closing };
    },
    call(item, at) {
      const place = { item_id: item['id'], output_index: at };
      return [
        event('response.output_item.added', {
          output_index: at,
          item: { ...item, arguments: '', status: 'in_progress' },
        }),
        event('response.function_call_arguments.delta', { ...place, delta: item['arguments'] }),
        event('response.function_call_arguments.done', { ...place, arguments: item['arguments'], name: item['name'] }),
        event('response.output_item.done', { output_index: at, item }),
      ];
    },
  };
}

const partOf = (text: string): object => ({ type: 'output_text', text, annotations: [], logprobs: [] });

/** The same as a chat's body. */
function chatBody(body: Body): Body {
  const { instructions, tool_choice: choice, text, max_output_tokens } = body;
  const system = typeof instructions === 'string' ? [{ role: 'system', content: instructions }] : [];
  const format = isRecord(text) && isRecord(text['format']) ? formatOf(text['format']) : undefined;
  return {
    ...without(body, ['instructions', 'input', 'text', 'max_output_tokens']),
    messages: [...system, ...messagesOf(body)],
    tools: listField(body, 'tools')?.map(toolOf),
    tool_choice:
      isRecord(choice) && 'name' in choice ? { type: 'function', function: { name: choice['name'] } } : choice,
    response_format: format,
    max_completion_tokens: max_output_tokens,
  };
}

const formatOf = ({ type, ...named }: Body): Body => (type === 'json_schema' ? { type, json_schema: named } : { type });

function toolOf(tool: unknown, i: number): unknown {
  if (!isRecord(tool) || tool['type'] !== 'function')
    throw userError('unsupported', `tools[${i}] must be of type function.`, 'Other tools are not run here.');
  const { type, name, description, parameters, function: described } = tool;
  return described === undefined ? { type, function: { name, description, parameters: parameters ?? {} } } : tool;
}

function messagesOf(body: Body): unknown[] {
  const { input } = body;
  if (typeof input === 'string') return [{ role: 'user', content: input }];
  if (!Array.isArray(input)) throw badField('input', 'a text or a list of items', input);
  const turns: Body[] = [];
  for (const [i, item] of (input as unknown[]).entries()) {
    if (!isRecord(item)) throw badField(`input[${i}]`, 'an object', item);
    const { role, name, call_id: id, arguments: given } = item;
    switch (item['type'] ?? 'message') {
      case 'message':
        turns.push({ role, content: contentOf(item['content'], `input[${i}].content`) });
        break;
      case 'function_call': {
        // What the model said before its call, and its calls beside, are one turn, as it wrote them.
        const said: Body = turns.at(-1)?.['role'] === 'assistant' ? turns.pop()! : { role: 'assistant', content: null };
        const call = { id, type: 'function', function: { name, arguments: given } };
        turns.push({ ...said, tool_calls: [...(listField(said, 'tool_calls') ?? []), call] });
        break;
      }
      case 'function_call_output':
        turns.push({ role: 'tool', tool_call_id: textField(item, 'call_id'), content: contentOf(item['output'], `input[${i}].output`) }); // prettier-ignore
        break;
      case 'reasoning':
        break;
      default:
        throw userError('unsupported', `input[${i}] must not be of type ${JSON.stringify(item['type'])?.slice(0, 100)}.`, 'Leave it out.'); // prettier-ignore
    }
  }
  return turns;
}

/** Parts of text by whatever name. */
function contentOf(content: unknown, name: string): unknown {
  if (!Array.isArray(content)) return content;
  return (content as unknown[]).map((part, i) => {
    if (isRecord(part) && typeof part['text'] === 'string') return { type: 'text', text: part['text'] };
    throw userError('unsupported', `${name}[${i}] must be a text.`, 'This model reads no pictures or sound.');
  });
}
