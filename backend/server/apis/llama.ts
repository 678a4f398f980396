/** Endpoints of llama.cpp's server, as its clients use them: `/completion`, `/infill`, `/tokenize`, `/detokenize`, `/apply-template`, `/props`. */
import { isRecord } from '../../../protocol/foreign.ts';
import type { ServedPrompt } from '../../../protocol/serving.ts';
import { exitsOf, writingTime, type WrittenText } from './answers.ts';
import { chatOf } from './chat-request.ts';
import { streamOptions, type Endpoint } from './endpoint.ts';
import { badField, countField, flagField, isIds, listField, textField, type Body } from './fields.ts';
import { wantsExits } from './text-options.ts';
import { requestedTokens, promptsField, requestOf } from './requests.ts';
import type { Served } from '../served.ts';
import type { Caller, Writer } from '../writer.ts';

/** Characters of a file's name. */
const longestName = 1024;
/** Most tokens beside each that is written. */
const mostProbabilities = 1000;

export const completion = (body: Body, served: Served): Endpoint => written(body, served, promptsField(body));

export function infill(body: Body, served: Served): Endpoint {
  const chunks = (listField(body, 'input_extra') ?? []).map((chunk, i) => {
    if (!isRecord(chunk)) throw badField(`input_extra[${i}]`, 'an object', chunk);
    const text = textField(chunk, 'text');
    if (text === undefined) throw badField(`input_extra[${i}].text`, 'a text', text);
    const file = textField(chunk, 'filename') ?? '';
    if (file.length > longestName)
      throw badField(`input_extra[${i}].filename`, `of ${longestName} characters at most`, file);
    return { file, text };
  });
  // What the middle begins with stands behind the prefix, as in an editor.
  const begun = textField(body, 'prompt') ?? '';
  const [prefix, suffix] = [textField(body, 'input_prefix'), textField(body, 'input_suffix')];
  if (prefix === undefined) throw badField('input_prefix', 'a text', undefined);
  if (suffix === undefined) throw badField('input_suffix', 'a text', undefined);
  return written(body, served, [{ kind: 'gap', gap: { prefix: prefix + begun, suffix, chunks } }]);
}

function written(body: Body, served: Served, prompts: ServedPrompt[]): Endpoint {
  const shownProbabilities = countField(body, 'n_probs', 0, mostProbabilities) ?? 0;
  const request = requestOf(body, served, {
    prompts,
    maxTokens: requestedTokens(body, 'n_predict', 0),
    alternatives: shownProbabilities,
    isMeasured: shownProbabilities > 0,
    isAsItIs: shownProbabilities > 0,
  });
  const showsExits = wantsExits(body);
  const showsIds = flagField(body, 'return_tokens') ?? false;
  const last = (text: WrittenText): object => ({
    stop: true,
    model: served.name,
    tokens_predicted: text.tokens.length,
    tokens_evaluated: text.promptTokens,
    tokens_cached: text.remembered,
    truncated: false,
    stop_type: text.reason === 'end-of-text' ? 'eos' : text.reason === 'stop-string' ? 'word' : 'limit',
    stopping_word: text.stop ?? '',
    timings: timingsOf(text),
    generation_settings: {
      n_predict: request.maxTokens,
      seed: request.options.seed,
      temperature: request.options.temperature,
    },
  });
  const tokens = (text: Pick<WrittenText, 'tokens'>): object => ({
    ...(showsIds && { tokens: text.tokens.map(({ id }) => id) }),
    ...(shownProbabilities > 0 && {
      completion_probabilities: text.tokens.map((token) => probabilitiesOf(token, shownProbabilities)),
    }),
    ...(showsExits && { early_exit: exitsOf(text.tokens) }),
  });
  return {
    request,
    stream: streamOptions(body),
    format: 'plain-events',
    whole(texts) {
      const all = texts.map((text, index) => ({ index, content: text.text, ...tokens(text), ...last(text) }));
      return all.length === 1 ? all[0]! : all;
    },
    piece(event, text) {
      const index = event.text;
      if (event.type === 'read') return [];
      if (event.type === 'stopped') return [{ index, content: '', ...last(text) }];
      const content = event.tokens.map((token) => token.text).join('');
      return [{ index, content, ...tokens({ tokens: [...event.tokens] }), stop: false }];
    },
    usage: () => null,
  };
}

/** Milliseconds of prefill and of decoding. */
function timingsOf(text: WrittenText): object {
  const { reading, promptTokens, remembered, tokens } = text;
  const writing = writingTime(text);
  const rate = (count: number, milliseconds: number): number => (milliseconds > 0 ? (1000 * count) / milliseconds : 0);
  return {
    cache_n: remembered,
    prompt_n: promptTokens - remembered,
    prompt_ms: reading,
    prompt_per_second: rate(promptTokens - remembered, reading),
    predicted_n: tokens.length,
    predicted_ms: writing,
    predicted_per_second: rate(tokens.length, writing),
  };
}

const probabilitiesOf = (
  { id, text, confidence, alternatives = [] }: WrittenText['tokens'][number],
  count: number,
): object => ({
  id,
  token: text,
  logprob: Math.log(confidence),
  top_logprobs: alternatives
    .slice(0, count)
    .map((each) => ({ id: each.id, token: each.text, logprob: Math.log(each.probability) })),
});

/** Ids of a text, each with its text if `with_pieces` is set. */
export async function tokenize(body: Body, writer: Writer, caller: Caller): Promise<Iterable<string>> {
  const text = textField(body, 'content');
  if (text === undefined) throw badField('content', 'a text', undefined);
  const addSpecial = flagField(body, 'add_special') ?? false;
  const parseSpecial = flagField(body, 'parse_special') ?? true;
  const withPieces = flagField(body, 'with_pieces') ?? false;
  const question = { kind: 'tokenize', text, addSpecial, parseSpecial, withPieces } as const;
  const { ids, pieces } = await writer.ask<'tokenize'>(question, caller);
  return listed('tokens', ids, (id) => (pieces === null ? String(id) : JSON.stringify({ id, piece: pieces.get(id) })));
}

/** Ids in one part of an answer. */
const idsOfPart = 8192;

/** `{"NAME":[…]}` in parts, since a text may have millions of ids. */
function* listed(name: string, ids: Int32Array, shown: (id: number) => string): Iterable<string> {
  yield `{${JSON.stringify(name)}:[`;
  for (let at = 0; at < ids.length; at += idsOfPart)
    yield (at > 0 ? ',' : '') + Array.from(ids.subarray(at, at + idsOfPart), shown).join(',');
  yield ']}';
}

export async function detokenize(body: Body, writer: Writer, caller: Caller): Promise<Iterable<string>> {
  const ids = body['tokens'];
  if (!isIds(ids)) throw badField('tokens', 'token ids', ids);
  return [JSON.stringify({ content: await writer.ask<'detokenize'>({ kind: 'detokenize', ids }, caller) })];
}

export async function applyTemplate(body: Body, writer: Writer, caller: Caller): Promise<Iterable<string>> {
  const prompt = await writer.ask<'template'>({ kind: 'template', chat: chatOf(body) }, caller);
  return [JSON.stringify({ prompt })];
}

export function props({ model, name, options }: Served): object {
  const { temperature, topK, topP, minP, repetitionPenalty, maxTokens } = options;
  return {
    default_generation_settings: {
      n_ctx: model.contextLength,
      params: {
        n_predict: maxTokens,
        temperature,
        top_k: topK,
        top_p: topP,
        min_p: minP,
        repeat_penalty: repetitionPenalty,
      },
    },
    total_slots: model.parallel,
    model_path: name,
    chat_template: model.chatTemplate ?? '',
    bos_token: model.bosText,
    eos_token: model.eosText,
    early_exit: {
      layers: model.layers,
      exits: model.exits,
      mode: options.mode,
      device: model.device,
      fills_in_the_middle: model.fills,
    },
  };
}

/** Rows as llama.cpp shows its slots: those in use, then those that are free. */
export function slots({ model }: Served, writer: Writer): object[] {
  const busy = writer.writing();
  return Array.from({ length: model.parallel }, (_, id) => ({
    id,
    n_ctx: model.contextLength,
    speculative: model.exits.length > 0,
    is_processing: id < busy.length,
    ...(busy[id] && {
      id_task: busy[id].request,
      n_prompt_tokens: busy[id].promptTokens,
      next_token: [{ n_decoded: busy[id].written }],
    }),
  }));
}
