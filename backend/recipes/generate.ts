/** Generates from prompts with the exits of a checkpoint, or at full depth. */
import { plural } from '../../protocol/plural.ts';
import { userError } from '../../protocol/errors.ts';
import type { GenerateEvent, GenerateReadyEvent } from '../../protocol/events.ts';
import type { JobOptions } from '../../protocol/jobs.ts';
import type { CompletionLimits, Gap } from '../../protocol/completion.ts';
import { completionOptions } from '../../protocol/options/completions.ts';
import type { GenerateOptions } from '../../protocol/options/options.ts';
import type { StopReason, TokenRecord } from '../../protocol/trace.ts';
import { renderChat } from '../data/prompts/chat.ts';
import type { Tokenizer } from '../data/tokenizer/tokenizer.ts';
import type { Ids } from '../decoding/batch.ts';
import { decode, type DecodeRequest } from '../decoding/decode.ts';
import { repetitionEnd } from '../decoding/repetition.ts';
import type { SequenceOptions } from '../decoding/sequence.ts';
import type { Session } from '../decoding/session.ts';
import { explained, type WrittenText } from './writing/explained.ts';
import { gapPrompt, withoutHealing } from '../data/prompts/gap-prompt.ts';
import { openGenerator, type Generator } from './opening/generator.ts';
import { readyEvent } from './reporting.ts';
import { broughtBy, modeOf, modeWarning, policyText, samplingWarning } from '../decoding/leaving/mode.ts';
import { trunkLength } from '../runtime/staged-model.ts';
import { lineTokens, placeEnd } from './writing/place-end.ts';
import { draftingFrom, sequenceOptions } from '../decoding/sequence-options.ts';

/**
 * A conversation, if there is one, replaces the prompts.
 * @throws UserError for a model, checkpoint or prompt that cannot be used.
 */
export async function* generate(
  options: JobOptions['generate'],
  signal: AbortSignal,
): AsyncGenerator<GenerateEvent, void> {
  yield { type: 'phase', phase: 'load', detail: options.model };
  const generator = await openGenerator(options, signal);
  try {
    yield* writeWith(generator, options, signal);
  } finally {
    generator.release();
  }
}

async function* writeWith(
  generator: Generator,
  options: JobOptions['generate'],
  signal: AbortSignal,
): AsyncGenerator<GenerateEvent, void> {
  const { session, calibration } = generator;
  const decoding = await request(options, generator, signal);
  yield generateReady(options, generator);
  for (const message of [modeWarning(options, calibration), samplingWarning(options)])
    if (message !== null) yield { type: 'warning', message };
  yield { type: 'phase', phase: 'generate', detail: plural(decoding.prompts.length, 'prompt') };
  const texts = yield* follow(generator, decoding, modeOf(options, calibration) === 'full');
  if (options.explained && !signal.aborted) yield* explained(session, decoding, texts, options.explained);
}

/** The event that describes a generation before its first token. */
export function generateReady(options: GenerateOptions, generator: Generator): GenerateReadyEvent {
  const { model, exits, device, calibration } = generator;
  return {
    ...readyEvent(model, exits, device.name),
    mode: modeOf(options, calibration),
    policy: policyText(options, calibration),
    brought: broughtBy(options, calibration),
  };
}

async function encodePrompt(
  tokenizer: Tokenizer,
  text: string,
  { chat, system, turns }: JobOptions['generate'],
  signal: AbortSignal,
): Promise<number[]> {
  if (!chat && turns === undefined) return tokenizer.encode(text);
  const conversation = turns ?? [{ role: 'user', content: text }];
  const messages = [
    ...(system ? [{ role: 'system', content: system }] : []),
    ...conversation.map((turn) => ({ ...turn })),
  ];
  const rendered = await renderChat(tokenizer, messages, { addGenerationPrompt: true, signal });
  return tokenizer.encode(rendered, { addSpecial: false });
}

async function request(
  options: JobOptions['generate'],
  generator: Generator,
  signal: AbortSignal,
): Promise<DecodeRequest> {
  if (options.prompt.length === 0) throw userError('bad-argument', 'There is no prompt.', 'Give one with --prompt.');
  const { tokenizer } = generator;
  const { gap } = options;
  const ends = { ends: options.stopRepetition ? [() => repetitionEnd()] : [], isCancelled: () => signal.aborted };
  const how = { ...sequenceOptions(options, generator), ...ends };
  if (gap !== undefined) return { ...how, ...atCursor(options, gap, how, generator) };
  const encoded = await Promise.all(options.prompt.map((text) => encodePrompt(tokenizer, text, options, signal)));
  // What a template renders ends as it should.
  const isRaw = !options.chat && options.turns === undefined;
  const prompts = encoded.map((ids) => (isRaw && options.tokenHealing ? tokenizer.heal(ids) : { ids, begun: null }));
  return { ...how, prompts: prompts.map(({ ids }) => ids), beginnings: prompts.map(({ begun }) => begun) };
}

/** A gap is filled as by a completion, but longer: to the end of the block that it began, or, beyond the limit, to the end of the line. */
function atCursor(
  { maxTokens, tokenHealing, stopRepetition }: GenerateOptions,
  gap: Gap,
  { endOfText, stopStrings, drafts }: SequenceOptions,
  { tokenizer, model }: Generator,
): Pick<DecodeRequest, 'prompts' | 'beginnings' | 'maxTokens' | 'endOfText' | 'stopStrings' | 'ends' | 'drafts'> {
  const { contextLength } = model.spec;
  const limit = Math.min(maxTokens, Math.floor(contextLength / 3));
  const limits = { ...placeLimits, maxTokens: limit + lineTokens };
  const prompt = gapPrompt(tokenHealing ? tokenizer : withoutHealing(tokenizer), gap, limits, contextLength);
  const cursorLine = gap.prefix.slice(gap.prefix.lastIndexOf('\n') + 1);
  const { ids, begun, fills, ends, stops, others } = prompt;
  return {
    prompts: [ids],
    beginnings: [begun],
    maxTokens: limits.maxTokens,
    drafts: draftingFrom(drafts, others),
    endOfText: [...endOfText, ...ends],
    // A blank line is no end here.
    stopStrings: fills ? [...stopStrings, ...stops] : stopStrings,
    ends: [() => placeEnd(gap, limit), ...(stopRepetition ? [() => repetitionEnd(cursorLine)] : [])],
  };
}

/** Most tokens of each part of a prompt, as completions have them by default. */
const placeLimits: Omit<CompletionLimits, 'maxTokens'> = {
  prefixTokens: completionOptions.prefixTokens.default as number,
  suffixTokens: completionOptions.suffixTokens.default as number,
  chunkTokens: completionOptions.chunkTokens.default as number,
  maxMilliseconds: 0,
  suggestions: 1,
};

/** For fewer tokens no speed is reported: a moment in which another program computes would be most of it. */
const fewestTimed = 20;

const noIds: Ids = { ids: [], from: 0 };

/** A session's first text also builds the graphs of its passes: its time says nothing of the speed of another. */
const hasWritten = new WeakSet<Session>();

/** Milliseconds of a token at full depth, alone in its pass, as the session has measured them last. */
const fullDepthNow = ({ model, pace }: Session): number =>
  pace.stages(0, trunkLength(model), 1) + pace.reading(model.exits.length - 1, 1);

/**
 * How many times as fast a text was written as at full depth. `seconds`: what it took; `passes`: what its passes took of that; `full`: what
 * passes at full depth would have taken. The rest (showing tokens, other programs) would have been the same.
 */
export const timesFullDepth = (took: { seconds: number; passes: number; full: number }): number =>
  (Math.max(0, took.seconds - took.passes) + took.full) / took.seconds;

/**
 * Passes tokens on, sums up the figures of `generated`, and returns the texts. `isFull`: every token takes all layers, one per pass.
 */
async function* follow(
  generator: Generator,
  of: DecodeRequest,
  isFull: boolean,
): AsyncGenerator<GenerateEvent, WrittenText[]> {
  const { session } = generator;
  const texts = of.prompts.map(() => '');
  const stops: StopReason[] = of.prompts.map(() => 'cancelled');
  const written = of.prompts.map((): { ids: Ids; tokens: TokenRecord[] } => ({ ids: noIds, tokens: [] }));
  let tokens = 0;
  let layers = 0;
  // Summed up token by token, since a machine that is shared becomes slower and faster within a text.
  let fullDepth = 0;
  let prompt = { tokens: 0, seconds: 0 };
  /** Texts that are not over. */
  let open = of.prompts.length;
  // From the end of the last prompt on. Each open text gets a token in the step that reads it, before the clock starts.
  let began: { at: number; spent: number; tokens: number; open: number } | null = null;
  for await (const event of decode(session, of)) {
    for (const message of generator.warnings()) yield { type: 'warning', message };
    switch (event.type) {
      case 'prompt':
        began = { at: performance.now(), spent: session.pace.spent(), tokens, open };
        fullDepth = 0;
        prompt = event;
        break;
      case 'token':
        tokens++;
        fullDepth += fullDepthNow(session);
        layers += event.token.layer;
        texts[event.token.sequence] += event.token.text;
        written[event.token.sequence]!.tokens.push(event.token);
        yield event;
        break;
      case 'stop':
        open--;
        stops[event.sequence] = event.reason;
        written[event.sequence]!.ids = event.ids;
    }
  }
  const seconds = began === null ? 0 : (performance.now() - began.at) / 1000;
  const since = began === null ? 0 : tokens - began.tokens;
  const decoded = began === null ? 0 : Math.max(0, since - began.open);
  const passes = began === null ? 0 : (session.pace.spent() - began.spent) / 1000;
  const isTimed = !isFull && hasWritten.has(session) && decoded >= fewestTimed && seconds > 0;
  hasWritten.add(session);
  yield {
    type: 'generated',
    texts,
    stops,
    promptTokens: prompt.tokens,
    tokens,
    meanLayer: tokens ? layers / tokens : 0,
    layers: session.model.spec.layers.length,
    tokensPerSecond: seconds > 0 ? decoded / seconds : 0,
    speedup: isTimed ? timesFullDepth({ seconds, passes, full: ((decoded / since) * fullDepth) / 1000 }) : null,
    promptSeconds: prompt.seconds,
  };
  return written.map(({ ids, tokens }) => ({ ...ids, tokens }));
}
