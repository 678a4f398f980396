/** Ollama's `/api/…`: chats, texts and vectors as its clients ask for them. Streams are lines of JSON, and the default. */
import { isRecord } from '../../../protocol/foreign.ts';
import type { ServedModel } from '../../../protocol/serving.ts';
import { finishReason, writingTime, type WrittenText } from './answers.ts';
import { chatRequest, goingOn } from './chat-request.ts';
import { fullDepth, numbersOf, vectorRequest } from './embeddings.ts';
import type { Endpoint } from './endpoint.ts';
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
import { requestedTokens, checkModel, promptsField, requestOf } from './requests.ts';
import type { Served } from '../served.ts';
import { plainReader, turnOf, type CallReader, type Turn } from './tools.ts';

export function chat(body: Body, served: Served): Endpoint {
  if (isEmpty(body['messages'])) return loading(body, served, { message: { role: 'assistant', content: '' } });
  for (const message of listField(body, 'messages') ?? [])
    if (isRecord(message)) refuseFields(message, { images: isEmpty });
  const { request, reader } = chatRequest(goingOn(plainBody(body)), served);
  return written(body, served, request, reader, (turn) => ({
    message: {
      role: 'assistant',
      content: turn.text,
      ...(turn.calls.length > 0 && { tool_calls: turn.calls.map(({ name, arguments: given }) => ({ function: { name, arguments: JSON.parse(given) as unknown } })) }), // prettier-ignore
    },
  }));
}

/** A text: formatted with the model's template unless `raw`, or between two others if there is a `suffix`. */
export function generate(body: Body, served: Served): Endpoint {
  refuseFields(body, { images: isEmpty, context: isEmpty, template: (value) => value === '' });
  const plain = plainBody(body);
  const prompt = textField(body, 'prompt') ?? '';
  const suffix = textField(body, 'suffix') ?? '';
  const system = textField(body, 'system') ?? '';
  const isRaw = (flagField(body, 'raw') ?? false) || suffix !== '' || served.model.chatTemplate === null;
  if (prompt === '' && suffix === '') return loading(body, served, { response: '' });
  const answer = (turn: Turn): object => ({ response: turn.text });
  if (!isRaw) {
    const systemTurns = system === '' ? [] : [{ role: 'system', content: system }];
    const messages = [...systemTurns, { role: 'user', content: prompt }];
    return written(body, served, chatRequest({ ...plain, messages, tools: null }, served).request, plainReader, answer);
  }
  checkModel(body, served);
  const prompts = suffix === '' ? promptsField({ prompt }) : [{ kind: 'gap', gap: { prefix: prompt, suffix, chunks: [] } } as const]; // prettier-ignore
  const request = requestOf(plain, served, { prompts, maxTokens: requestedTokens(plain, 'num_predict', 0) });
  return written(body, served, request, plainReader, answer);
}

/** `/api/embed` with an `input`, and the older `/api/embeddings` with a `prompt`. */
export function embed(body: Body, served: Served): Endpoint {
  checkModel(body, served);
  const isOld = body['input'] === undefined;
  const prompts = promptsField({ prompt: body['input'] ?? body['prompt'] }, isOld ? 'prompt' : 'input');
  return {
    request: {
      ...vectorRequest(plainBody(body), served, prompts, fullDepth),
      cutsPrompts: flagField(body, 'truncate') ?? true,
    },
    stream: null,
    whole: (texts) =>
      isOld
        ? { embedding: numbersOf(texts[0]!) }
        : {
            model: served.name,
            embeddings: texts.map(numbersOf),
            total_duration: nanoseconds(Math.max(...texts.map(({ ended }) => ended)) - texts[0]!.requestedAt),
            load_duration: 0,
            prompt_eval_count: texts.reduce((sum, { promptTokens }) => sum + promptTokens, 0),
          },
    piece: () => [],
    usage: () => null,
  };
}

/** A request without a text: it loads the model, or with `keep_alive` 0 unloads it, which this server leaves as it is. Nothing is written. */
function loading(body: Body, served: Served, answer: object): Endpoint {
  checkModel(body, served);
  const done_reason = body['keep_alive'] === 0 ? 'unload' : 'load';
  const record = { model: served.name, created_at: new Date().toISOString(), ...answer, done: true, done_reason };
  return {
    request: requestOf({}, served, { prompts: [{ kind: 'text', text: '\n' }], maxTokens: 0 }),
    stream: streams(body),
    format: 'lines',
    whole: () => record,
    piece: (event) => (event.type === 'stopped' ? [record] : []),
    usage: () => null,
  };
}

/** By default. */
const streams = (body: Body): Endpoint['stream'] =>
  (flagField(body, 'stream') ?? true) ? { includeUsage: false } : null;

function written(
  body: Body,
  served: Served,
  request: Endpoint['request'],
  reader: () => CallReader,
  answer: (turn: Turn) => object,
): Endpoint {
  const headed = (more: object): object => ({ model: served.name, created_at: new Date().toISOString(), ...more });
  const ending = (text: WrittenText, turn: Turn): object =>
    headed({
      ...answer(turn),
      done: true,
      done_reason: finishReason(text.reason),
      total_duration: nanoseconds(text.ended - text.requestedAt),
      load_duration: 0,
      prompt_eval_count: text.promptTokens,
      prompt_eval_duration: nanoseconds(text.reading),
      eval_count: text.tokens.length,
      eval_duration: nanoseconds(writingTime(text)),
    });
  const read = reader();
  const piece = (turn: Turn): object[] =>
    turn.text === '' && turn.calls.length === 0 ? [] : [headed({ ...answer(turn), done: false })];
  return {
    request,
    stream: streams(body),
    format: 'lines',
    whole: ([text]) => ending(text!, turnOf(text!.text, reader())),
    piece(event, text) {
      if (event.type === 'read') return [];
      if (event.type === 'written')
        return piece({ text: read.push(event.tokens.map((token) => token.text).join('')), calls: [] });
      return [...piece(read.end()), ending(text, { text: '', calls: [] })];
    },
    usage: () => null,
  };
}

const nanoseconds = (milliseconds: number): number => Math.max(0, Math.round(milliseconds * 1e6));

/** The same as a body of OpenAI's: `options` at its top, `format` as a response format. */
function plainBody(body: Body): Body {
  const { format } = body;
  const options = recordField(body, 'options') ?? {};
  // −2 and 0 mean as many as there is room for.
  const limit = options['num_predict'] === -2 || options['num_predict'] === 0 ? { num_predict: -1 } : {};
  const plain = { ...without(body, ['options', 'format']), ...options, ...limit, ...(format !== undefined && format !== null && format !== '' && { response_format: formatOf(format) }) }; // prettier-ignore
  refuseFields(plain, { n: isOne });
  return plain;
}

function formatOf(format: unknown): object {
  if (format === 'json') return { type: 'json_object' };
  if (isRecord(format)) return { type: 'json_schema', json_schema: { schema: format } };
  throw badField('format', 'json or a JSON schema', format);
}

const details = { parent_model: '', format: 'gguf', family: 'early-exit', families: ['early-exit'], parameter_size: '', quantization_level: '' }; // prettier-ignore

const tagOf = ({ name }: Served): object => ({
  name: `${name}:latest`,
  model: `${name}:latest`,
  modified_at: new Date(0).toISOString(),
  size: 0,
  digest: '',
  details,
});

export const tags = (served: Served): object => ({ models: [tagOf(served)] });

/** Models in memory: exactly one. */
export const running = (served: Served): object => ({
  models: [{ ...tagOf(served), expires_at: '9999-12-31T23:59:59Z', size_vram: 0, context_length: served.model.contextLength }], // prettier-ignore
});

/** What clients look for in a template to know what a model can do; its own is in another language. */
const templateOf = ({ chatTemplate, fills }: ServedModel): string =>
  ['{{ .System }}', ...(chatTemplate?.includes('tools') ? ['{{ .Tools }}'] : []), '{{ .Prompt }}', ...(fills ? ['{{ .Suffix }}'] : [])].join(''); // prettier-ignore

export function show(served: Served, body: Body): object {
  const { model } = served;
  checkModel({ model: body['model'] ?? body['name'] }, served);
  const speaks = model.chatTemplate !== null;
  return {
    modelfile: '',
    parameters: '',
    template: templateOf(model),
    details,
    model_info: {
      'general.architecture': 'early-exit',
      'early-exit.context_length': model.contextLength,
      'early-exit.block_count': model.layers,
      'early-exit.vocab_size': model.vocabulary,
    },
    capabilities: ['completion', 'embedding', ...(speaks && model.chatTemplate.includes('tools') ? ['tools'] : []), ...(model.fills ? ['insert'] : [])], // prettier-ignore
  };
}
