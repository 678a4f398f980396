/** `/v1/messages`: Anthropic's request and answer in blocks, over the same chat. */
import { userError } from '../../../protocol/errors.ts';
import { isRecord } from '../../../protocol/foreign.ts';
import { finishReason, type WrittenText } from './answers.ts';
import { chatOf, chatRequest, goingOn } from './chat-request.ts';
import { streamOptions, type Endpoint, type Head } from './endpoint.ts';
import { badField, flagField, isOne, listField, refuseFields, without, type Body } from './fields.ts';
import type { Served } from '../served.ts';
import { callId, turnOf, type Turn } from './tools.ts';
import type { Caller, Writer } from '../writer.ts';

export function messages(body: Body, served: Served): Endpoint {
  refuseFields(body, { mcp_servers: (value) => Array.isArray(value) && value.length === 0, n: isOne });
  const { request, reader } = chatRequest(chatBody(body), served);
  const usage = (text: WrittenText): object => ({
    input_tokens: text.promptTokens - text.remembered,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: text.remembered,
    output_tokens: text.tokens.length,
  });
  const shell = (text: WrittenText, head: Head): Body => ({
    id: `msg_${head.id}`,
    type: 'message',
    role: 'assistant',
    model: served.name,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: usage(text),
  });
  const toolUses = ({ calls }: Turn, head: Head): { id: string; name: string; input: unknown }[] =>
    calls.map((call, i) => ({ id: callId(head, 0, i), name: call.name, input: JSON.parse(call.arguments) as unknown }));
  const stopOf = ({ reason, stop }: WrittenText, { calls }: Turn): object => ({
    stop_reason:
      calls.length > 0
        ? 'tool_use'
        : finishReason(reason) === 'length'
          ? 'max_tokens'
          : reason === 'stop-string'
            ? 'stop_sequence'
            : 'end_turn',
    stop_sequence: stop,
  });
  const read = reader();
  let shown: string | null = null;
  const say = (text: string): object[] => {
    if (text === '') return [];
    const opening = shown === null ? [{ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }] : []; // prettier-ignore
    shown = (shown ?? '') + text;
    return [...opening, { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } }];
  };
  return {
    request,
    stream: streamOptions(body),
    format: 'named-events',
    whole([text], head) {
      const turn = turnOf(text!.text, reader());
      return {
        ...shell(text!, head),
        content: [
          ...(turn.text === '' && turn.calls.length > 0 ? [] : [{ type: 'text', text: turn.text }]),
          ...toolUses(turn, head).map((use) => ({ type: 'tool_use', ...use })),
        ],
        ...stopOf(text!, turn),
      };
    },
    piece(event, text, head) {
      if (event.type === 'read') return [{ type: 'message_start', message: shell(text, head) }];
      if (event.type === 'written') return say(read.push(event.tokens.map((token) => token.text).join('')));
      const { text: rest, calls } = read.end();
      const turn = { text: '', calls };
      const last = say(rest);
      const first = shown === null ? 0 : 1;
      const uses = toolUses(turn, head).flatMap(({ input, ...use }, i) => [
        { type: 'content_block_start', index: first + i, content_block: { type: 'tool_use', ...use, input: {} } },
        { type: 'content_block_delta', index: first + i, delta: { type: 'input_json_delta', partial_json: JSON.stringify(input) } }, // prettier-ignore
        { type: 'content_block_stop', index: first + i },
      ]);
      return [
        ...last,
        ...(shown === null ? [] : [{ type: 'content_block_stop', index: 0 }]),
        ...uses,
        { type: 'message_delta', delta: stopOf(text, turn), usage: usage(text) },
        { type: 'message_stop' },
      ];
    },
    usage: () => null,
  };
}

/** `/v1/messages/count_tokens`. */
export async function countTokens(body: Body, writer: Writer, caller: Caller): Promise<Iterable<string>> {
  const prompt = await writer.ask<'template'>(
    { kind: 'template', chat: chatOf(chatBody({ max_tokens: 1, ...body })) },
    caller,
  );
  const question = {
    kind: 'tokenize',
    text: prompt,
    addSpecial: false,
    parseSpecial: true,
    withPieces: false,
  } as const;
  const { ids } = await writer.ask<'tokenize'>(question, caller);
  return [JSON.stringify({ input_tokens: ids.length })];
}

/** The same as a chat's body. */
function chatBody(body: Body): Body {
  const { system, tool_choice: choice, stop_sequences: stop } = body;
  if (body['max_tokens'] === undefined) throw badField('max_tokens', 'a whole number from 1 to 10000000', undefined);
  const systemTurns =
    system === undefined || system === null ? [] : [{ role: 'system', content: textsOf(system, 'system') }];
  const given = listField(body, 'messages') ?? [];
  return goingOn({
    ...without(body, ['system', 'stop_sequences', 'thinking']),
    messages: [...systemTurns, ...given.flatMap(turnsOf)],
    tools: listField(body, 'tools')?.map(toolOf),
    tool_choice: isRecord(choice) ? choiceOf(choice) : choice,
    parallel_tool_calls: isRecord(choice) && flagField(choice, 'disable_parallel_tool_use') ? false : undefined,
    stop,
  });
}

function choiceOf({ type, name }: Body): unknown {
  if (type === 'any') return 'required';
  return type === 'tool' ? { type: 'function', function: { name } } : type;
}

function toolOf(tool: unknown, i: number): unknown {
  if (!isRecord(tool)) throw badField(`tools[${i}]`, 'an object', tool);
  if (tool['input_schema'] === undefined)
    throw userError('unsupported', `tools[${i}] has no input_schema.`, "Anthropic's own tools are not run here.");
  return { type: 'function', function: { name: tool['name'], description: tool['description'], parameters: tool['input_schema'] } }; // prettier-ignore
}

/** Blocks of one message as turns: the result of a tool is a turn of its own. */
function turnsOf(message: unknown, i: number): unknown[] {
  if (!isRecord(message)) throw badField(`messages[${i}]`, 'an object', message);
  const { role, content } = message;
  if (!Array.isArray(content)) return [message];
  const blocks = content as unknown[];
  const of = (type: string): Body[] =>
    blocks.filter((block): block is Body => isRecord(block) && block['type'] === type);
  const results = of('tool_result').map((block) => ({
    role: 'tool',
    tool_call_id: block['tool_use_id'],
    content: block['content'] === undefined ? '' : textsOf(block['content'], `messages[${i}].content`),
  }));
  const calls = of('tool_use').map(({ id, name, input }) => ({
    id,
    type: 'function',
    function: { name, arguments: input },
  }));
  const spoken = blocks.filter((block) => !isRecord(block) || !beside.has(String(block['type'])));
  const text = spoken.length > 0 ? textsOf(spoken, `messages[${i}].content`) : '';
  const own = text !== '' || calls.length > 0 ? [{ role, content: text, ...(calls.length > 0 && { tool_calls: calls }) }] : []; // prettier-ignore
  return [...results, ...own];
}

/** Blocks that mean nothing to the model. */
const beside = new Set(['tool_result', 'tool_use', 'thinking', 'redacted_thinking']);

function textsOf(content: unknown, name: string): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) throw badField(name, 'a text or a list of blocks', content);
  return (content as unknown[])
    .map((block) => {
      if (isRecord(block) && block['type'] === 'text' && typeof block['text'] === 'string') return block['text'];
      throw userError('unsupported', `${name} may have blocks of text alone.`, 'This model reads no pictures.');
    })
    .join('');
}
