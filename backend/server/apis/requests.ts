/** Fields that all requests share: prompts, limits, and the request to the model. Parsed here, trusted inside. */
import { userError } from '../../../protocol/errors.ts';
import type { ServedGrammar, ServedPrompt, WriteRequest } from '../../../protocol/serving.ts';
import { refusal } from '../http/failures.ts';
import { badField, countField, isIds, textField, type Body } from './fields.ts';
import { changesOf, optionsOf } from './text-options.ts';
import type { Served } from '../served.ts';
import { grammarOf } from './structure.ts';

/** Texts or token ids: one prompt, or a list of them. */
export function promptsField({ prompt }: Body, name = 'prompt'): ServedPrompt[] {
  const given: readonly unknown[] = Array.isArray(prompt) && typeof prompt[0] !== 'number' ? prompt : [prompt];
  const prompts = given.flatMap((each): ServedPrompt[] =>
    typeof each === 'string' ? [{ kind: 'text', text: each }] : isIds(each) ? [{ kind: 'ids', ids: each }] : [],
  );
  if (prompts.length > 0 && prompts.length === given.length) return prompts;
  throw badField(name, 'a text, token ids, or a list of either', prompt);
}

/** Number of requested tokens; −1 is as many as the server allows. */
const tokensField = (body: Body, name: string, least: number): number | undefined =>
  body[name] === -1 ? Infinity : countField(body, name, least, 10_000_000);

/** Names for it: clients of one server ask others, too. */
const tokensNames = ['max_completion_tokens', 'max_tokens', 'n_predict', 'num_predict', 'max_output_tokens'];

/** Number of requested tokens, under the endpoint's own name for it, else under another's. */
export function requestedTokens(body: Body, own: string, least: number): number | undefined {
  for (const name of [own, ...tokensNames]) {
    // llama.cpp's clients ask for none so that a prompt is remembered.
    const tokens = tokensField(body, name, name === 'n_predict' ? 0 : least);
    if (tokens !== undefined) return tokens;
  }
  return undefined;
}

/** The fields that an endpoint itself sets. */
interface EndpointRequest {
  readonly prompts: readonly ServedPrompt[];
  readonly count?: number;
  /** Undefined: as many as the server gives. */
  readonly maxTokens: number | undefined;
  readonly alternatives?: number;
  readonly echo?: boolean;
  readonly scores?: number | null;
  /** Whether log-probabilities are part of the answer. */
  readonly isMeasured?: boolean;
  /** Whether the prompt's end stays as it is spelled, as where its tokens are shown or the next one's probability is. */
  readonly isAsItIs?: boolean;
  /** The grammar of the text, unless the body has one. */
  readonly grammar?: ServedGrammar | null;
  readonly embedding?: WriteRequest['embedding'];
}

/** What the model is given of a body. @throws UserError for what cannot be done. */
export function requestOf(body: Body, served: Served, request: EndpointRequest): WriteRequest {
  const { prompts, count = 1, maxTokens = Infinity, alternatives = 0, echo = false, scores = null } = request;
  const options = optionsOf(body, served);
  const grammar = grammarOf(body);
  if (grammar !== null && request.grammar)
    throw userError(
      'bad-argument',
      'A function that must be called leaves no room for response_format.',
      'Leave one out.',
    );
  checkTexts(prompts.length * count);
  const { contextLength, exits } = served.model;
  const shown = alternatives + options.candidates * (exits.length + 1);
  checkAlternatives(prompts.length * count, Math.min(maxTokens, served.options.maxTokens, contextLength), shown);
  if (echo) checkEcho(prompts, count, Math.max(1, scores ?? 0), contextLength);
  return {
    prompts,
    count,
    options: request.isAsItIs ? { ...options, tokenHealing: false } : options,
    changes: changesOf(body, served),
    grammar: grammar ?? request.grammar ?? null,
    embedding: request.embedding ?? null,
    cutsPrompts: false,
    maxTokens: Math.min(maxTokens, served.options.maxTokens),
    // llama.cpp's; 0: however long it takes.
    lineMilliseconds: Math.max(0, countField(body, 't_max_predict_ms', -1, 1_000_000_000) ?? 0),
    alternatives: Math.max(1, alternatives),
    isMeasured: request.isMeasured ?? false,
    echo,
    scores,
  };
}

/** Most texts of one request. */
const mostTexts = 1024;

/** Most alternatives of all tokens of one request: about 100 bytes each, and twice that as JSON. */
const mostAlternatives = 2 ** 21;

function checkAlternatives(texts: number, tokens: number, alternatives: number): void {
  if (texts * tokens * alternatives <= mostAlternatives) return;
  throw userError(
    'bad-argument',
    `${texts} texts of ${tokens} tokens with ${alternatives} alternatives each are too many for one answer.`,
    'Ask for fewer alternatives, fewer tokens, or in several requests.',
  );
}

/** Of prompts that are part of the answer. A token without alternatives takes about as much as one. */
function checkEcho(prompts: readonly ServedPrompt[], count: number, alternatives: number, contextLength: number): void {
  const lengths = prompts.map((prompt) => Math.min(mostIds(prompt), contextLength));
  const tokens = count * lengths.reduce((sum, length) => sum + length, 0);
  if (tokens * alternatives <= mostAlternatives) return;
  throw userError(
    'bad-argument',
    `Prompts of up to ${tokens} tokens with ${alternatives} alternatives each are too many for one answer.`,
    'Ask for fewer alternatives, or in several requests, or without echo.',
  );
}

/** Tokens that a prompt may have. */
const mostIds = (prompt: ServedPrompt): number =>
  prompt.kind === 'ids' ? prompt.ids.length : prompt.kind === 'text' ? Buffer.byteLength(prompt.text) : Infinity;

/** @throws Refusal if a request names another model. */
export function checkModel(body: Body, { name, model, options }: Served): void {
  const requested = textField(body, 'model');
  // Ollama's clients name a tag, too.
  const names = [name, model.name, options.model];
  if (
    requested === undefined ||
    requested === '' ||
    names.includes(requested) ||
    names.includes(requested.replace(/:latest$/, ''))
  )
    return;
  throw refusal(
    404,
    'model_not_found',
    `There is no model ${JSON.stringify(requested.slice(0, 100))} here, but ${name}.`,
  );
}

function checkTexts(count: number): void {
  if (count === 0) throw userError('bad-argument', 'There is no prompt.');
  if (count > mostTexts) throw userError('bad-argument', `A request may ask for ${mostTexts} texts, not ${count}.`);
}
