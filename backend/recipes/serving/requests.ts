/** The texts of a request as decoding takes them, and their records for the client. Knows no inbox. */
import type { Sender, LogitChanges, PromptToken, ServeEvent, WriteRequest } from '../../../protocol/serving.ts';
import type { GenerateOptions, ServeOptions } from '../../../protocol/options/options.ts';
import type { Steps } from '../../data/steps.ts';
import type { Tokenizer } from '../../data/tokenizer/tokenizer.ts';
import type { BatchEvent, BatchRequest } from '../../decoding/batch.ts';
import { lineLimit } from '../../decoding/line-limit.ts';
import { newPooling, type FinalNorm, type Pooling } from '../../decoding/prompts/pooled.ts';
import { modeOf } from '../../decoding/leaving/mode.ts';
import { changesLogits, type SamplingOptions } from '../../decoding/sampling/sampler.ts';
import { draftingFrom, sequenceOptions } from '../../decoding/sequence-options.ts';
import type { Model } from '../../model/open.ts';
import type { Grammars } from './grammars.ts';
import type { Generator } from '../opening/generator.ts';
import { encodePrompt, type PlainPrompt } from './texts.ts';

/** A text to be written, and its client. */
export interface Text extends BatchRequest {
  /** Client and request: waiting texts take turns by client, and within a client by request. */
  readonly turn: readonly string[];
  readonly contextLength: number;
  readonly id: number;
  readonly text: number;
  readonly echo: boolean;
  /** Tokens of its prompt, with those that were taken off its end. */
  readonly promptTokens: number;
  readonly pool: Pooling | null;
}

/** @throws UserError for what cannot be written. */
export function* textsOf(
  request: WriteRequest,
  plain: readonly PlainPrompt[],
  owner: Pick<Text, 'id' | 'turn' | 'scope'>,
  generator: Generator,
  grammars: Grammars,
  contextLength: number,
): Steps<Text[]> {
  const { options, grammar, embedding, count, maxTokens, lineMilliseconds, alternatives, isMeasured, echo, scores } =
    request;
  const recordsEnd = scores !== null;
  // Log-probabilities are of the prompt's tokens as they are.
  const heals = options.tokenHealing && maxTokens > 0 && scores === null && grammar === null;
  const changes = yield* changesOf(request.changes, generator.tokenizer);
  // A promise holds for greedy tokens of unchanged logits.
  const isChanged = options.mode === 'auto' && changesLogits({ ...options, ...changes });
  const whole: GenerateOptions = { ...options, mode: isChanged ? 'lossless' : options.mode, promptExit: 'off' };
  // Prompts stop in mode fast alone, which auto may not be for this text.
  const isFast = options.mode !== 'auto' || modeOf(whole, generator.calibration) === 'fast';
  const plainly = sequenceOptions(isFast ? options : whole, generator);
  const sampling = { ...plainly.sampling, ...changes };
  const limits = lineMilliseconds > 0 ? [lineLimit(lineMilliseconds)] : [];
  const how = { ...plainly, sampling, maxTokens, alternatives, isMeasured, scores, recordsEnd, ends: limits };
  const texts: Text[] = [];
  for (const prompt of plain) {
    const room = { contextLength, maxTokens, heals, cuts: request.cutsPrompts };
    const { ids, tokens, begun, ends, others } = yield* encodePrompt(prompt, generator.tokenizer, room);
    const endOfText = [...how.endOfText, ...ends];
    const allowed = grammar === null ? null : yield* grammars.open(grammar, endOfText);
    for (let number = 0; number < count; number++)
      texts.push({
        ...how,
        ...owner,
        contextLength,
        endOfText,
        allowed,
        pool: embedding && newPooling(finalNorm(generator.model), embedding.exit, embedding.pooling),
        drafts: draftingFrom(how.drafts, others),
        prompt: ids,
        promptTokens: tokens,
        begun,
        number,
        text: texts.length,
        echo,
      });
    yield;
  }
  return texts;
}

function finalNorm({ spec, parameters }: Model): FinalNorm {
  const bias = parameters.has('norm.bias') ? parameters.values('norm.bias') : null;
  return { spec: spec.norm, gain: parameters.values('norm.weight'), bias };
}

function* changesOf(
  { bias, ...penalties }: LogitChanges,
  tokenizer: Pick<Tokenizer, 'encodePlain'>,
): Steps<Pick<SamplingOptions, 'presencePenalty' | 'frequencyPenalty' | 'bias'>> {
  const added = new Map<number, number>();
  for (const { token, added: value } of bias) {
    for (const id of typeof token === 'string' ? tokenizer.encodePlain(token) : [token])
      added.set(id, (added.get(id) ?? 0) + value);
    yield;
  }
  return { ...penalties, bias: added };
}

/** For each value of the option, the scope of a request: texts of one scope share what has been computed. */
export const scopes: Readonly<Record<ServeOptions['cacheScope'], (id: number, sender: Sender) => string>> = {
  request: (id) => String(id),
  key: (_, { key }) => key,
  all: () => '',
};

/** `milliseconds`: since its text had its turn. */
export function eventOf(event: BatchEvent<Text>, milliseconds: number): ServeEvent {
  const { id, text } = event.request;
  switch (event.type) {
    case 'prompt':
      return {
        type: 'read',
        id,
        text,
        tokens: event.request.promptTokens,
        remembered: event.remembered,
        milliseconds,
        prompt: promptTokens(event),
        embedding: event.request.pool?.value() ?? null,
      };
    case 'tokens':
      return { type: 'written', id, text, tokens: event.tokens };
    case 'stop':
      return { type: 'stopped', id, text, reason: event.reason, stop: event.stop ?? null };
  }
}

function promptTokens({ request, scores }: Extract<BatchEvent<Text>, { type: 'prompt' }>): PromptToken[] {
  if (!request.echo) return [];
  const decoder = request.codec.decoder();
  const texts = request.prompt.map((token) => decoder.push(token));
  texts.push(texts.pop()! + decoder.flush());
  return request.prompt.map((id, i): PromptToken => {
    const { logProbability = null, alternatives = [] } = scores[i - 1] ?? {};
    return { id, token: request.codec.tokenText(id), text: texts[i]!, logProbability, alternatives };
  });
}
