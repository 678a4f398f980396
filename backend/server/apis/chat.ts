/** `/v1/chat/completions`: OpenAI's request and answer, through the model's own chat template. */
import type { TokenRecord } from '../../../protocol/trace.ts';
import { exitsOf, finishReason, usageOf, type WrittenText } from './answers.ts';
import { chatRequest } from './chat-request.ts';
import { ofWritten } from './completions.ts';
import { streamOptions, type Endpoint, type Head } from './endpoint.ts';
import type { Body } from './fields.ts';
import { wantsExits } from './text-options.ts';
import type { Served } from '../served.ts';
import { callId, turnOf, type CallReader, type ToolCall } from './tools.ts';

export function chatCompletions(body: Body, served: Served): Endpoint {
  const { request, alternatives, showsLogprobs, reader, mayCall } = chatRequest(body, served);
  const showsExits = wantsExits(body);
  const more = (tokens: readonly TokenRecord[]): object => ({
    logprobs: showsLogprobs ? { content: tokens.map((token) => logprobOf(token, alternatives)) } : null,
    ...(showsExits && { early_exit: exitsOf(tokens) }),
  });
  const headed = (head: Head, object: string): object => ({
    id: `chatcmpl-${head.id}`,
    object,
    created: head.created,
    model: served.name,
  });
  const chunk = 'chat.completion.chunk';
  const readers = new Map<number, CallReader>();
  const whole = (text: WrittenText, index: number, head: Head): object => {
    const { text: content, calls } = turnOf(text.text, reader());
    return {
      index,
      message: {
        role: 'assistant',
        content: content === '' && calls.length > 0 ? null : content,
        refusal: null,
        ...(calls.length > 0 && { tool_calls: calls.map((call, i) => calledAs(call, callId(head, index, i))) }),
      },
      ...more(text.tokens),
      finish_reason: reasonOf(text, calls),
    };
  };
  return {
    request,
    stream: streamOptions(body),
    whole: (texts, head) => ({
      ...headed(head, 'chat.completion'),
      choices: texts.map((text, index) => whole(text, index, head)),
      usage: usageOf(texts, request.count),
    }),
    piece(event, text, head) {
      const index = event.text;
      const send = (delta: object, tokens: readonly TokenRecord[], reason: string | null = null): object => ({
        ...headed(head, chunk),
        choices: [{ index, delta, ...more(tokens), finish_reason: reason }],
      });
      const first = readers.has(index) ? [] : [send({ role: 'assistant', content: '' }, [])];
      const read = readers.get(index) ?? reader();
      readers.set(index, read);
      if (event.type === 'read') return first;
      if (event.type === 'written') {
        const content = read.push(event.tokens.map((token) => token.text).join(''));
        const isHeld = mayCall && content === '' && !showsLogprobs && !showsExits;
        return isHeld ? first : [...first, send({ content }, event.tokens)];
      }
      const { text: content, calls } = read.end();
      const tool_calls = calls.map((call, i) => ({ index: i, ...calledAs(call, callId(head, index, i)) }));
      return [
        ...first,
        ...(content === '' ? [] : [send({ content }, [])]),
        ...(calls.length === 0 ? [] : [send({ tool_calls }, [])]),
        send({}, [], reasonOf(text, calls)),
      ];
    },
    usage: (texts, head) => ({ ...headed(head, chunk), choices: [], usage: usageOf(texts, request.count) }),
  };
}

const calledAs = ({ name, arguments: given }: ToolCall, id: string): object => ({
  id,
  type: 'function',
  function: { name, arguments: given },
});

const reasonOf = ({ reason }: WrittenText, calls: readonly ToolCall[]): string | null =>
  calls.length > 0 ? 'tool_calls' : finishReason(reason);

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
