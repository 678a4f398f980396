/** Generates from prompts with the exits of a checkpoint, or at full depth. */
import { plural } from '../../protocol/plural.ts';
import { userError } from '../../protocol/errors.ts';
import type { GenerateEvent, GenerateReadyEvent } from '../../protocol/events.ts';
import type { JobOptions } from '../../protocol/jobs.ts';
import type { GenerateOptions } from '../../protocol/options.ts';
import type { StopReason } from '../../protocol/trace.ts';
import { renderChat } from '../data/chat.ts';
import type { Tokenizer } from '../data/tokenizer.ts';
import { decode, type DecodeRequest } from '../decoding/decode.ts';
import type { Session } from '../decoding/session.ts';
import { exitId } from '../exits/spec.ts';
import { inStreamOrder } from './backbone.ts';
import { openGenerator, type Generator } from './generator.ts';
import { modeOf, modeWarning, policyText, samplingWarning } from './mode.ts';
import { sequenceOptions } from './sequence-options.ts';

/**
 * A conversation, where there is one, stands instead of the prompts.
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
  yield readyEvent(options, generator);
  for (const message of [modeWarning(options, calibration), samplingWarning(options)])
    if (message !== null) yield { type: 'warning', message };
  yield { type: 'phase', phase: 'generate', detail: plural(decoding.prompts.length, 'prompt') };
  for await (const event of follow(session, decoding)) {
    for (const message of generator.warnings()) yield { type: 'warning', message };
    yield event;
  }
}

/** What a generation says of itself before its first token. */
export function readyEvent(options: GenerateOptions, generator: Generator): GenerateReadyEvent {
  const { model, device, calibration } = generator;
  return {
    type: 'ready',
    model: model.name,
    layers: model.spec.layers.length,
    exits: inStreamOrder(generator.exits).map((exit) => ({ exit: exitId(exit), layer: exit.layer })),
    device: device.name,
    mode: modeOf(options, calibration),
    policy: policyText(options, calibration),
  };
}

async function encodePrompt(
  tokenizer: Tokenizer,
  text: string,
  { chat, system, turns }: JobOptions['generate'],
  signal: AbortSignal,
): Promise<number[]> {
  if (!chat && turns === undefined) return tokenizer.encode(text);
  const asked = turns ?? [{ role: 'user', content: text }];
  const messages = [...(system ? [{ role: 'system', content: system }] : []), ...asked.map((turn) => ({ ...turn }))];
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
  const encoded = await Promise.all(options.prompt.map((text) => encodePrompt(tokenizer, text, options, signal)));
  // What a template renders ends as it should.
  const isRaw = !options.chat && options.turns === undefined;
  const prompts = encoded.map((ids) => (isRaw && options.tokenHealing ? tokenizer.heal(ids) : { ids, begun: null }));
  return {
    ...sequenceOptions(options, generator),
    prompts: prompts.map(({ ids }) => ids),
    beginnings: prompts.map(({ begun }) => begun),
    isCancelled: () => signal.aborted,
  };
}

/** Passes tokens on and adds up what `generated` reports. */
async function* follow(session: Session, of: DecodeRequest): AsyncGenerator<GenerateEvent, void> {
  const texts = of.prompts.map(() => '');
  const stops: StopReason[] = of.prompts.map(() => 'cancelled');
  let tokens = 0;
  let layers = 0;
  let prompt = { tokens: 0, seconds: 0 };
  const started = performance.now();
  for await (const event of decode(session, of)) {
    switch (event.type) {
      case 'prompt':
        prompt = event;
        break;
      case 'token':
        tokens++;
        layers += event.token.layer;
        texts[event.token.sequence] += event.token.text;
        yield event;
        break;
      case 'stop':
        stops[event.sequence] = event.reason;
    }
  }
  // The first token of each sequence comes out of the prompt's pass.
  const seconds = (performance.now() - started) / 1000 - prompt.seconds;
  yield {
    type: 'generated',
    texts,
    stops,
    promptTokens: prompt.tokens,
    tokens,
    meanLayer: tokens ? layers / tokens : 0,
    layers: session.model.spec.layers.length,
    tokensPerSecond: seconds > 0 ? Math.max(0, tokens - of.prompts.length) / seconds : 0,
    promptSeconds: prompt.seconds,
  };
}
