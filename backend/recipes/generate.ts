/** Generates from prompts with the exits of a checkpoint, or at full depth. */
import { plural } from '../../protocol/plural.ts';
import { userError } from '../../protocol/errors.ts';
import type { GenerateEvent } from '../../protocol/events.ts';
import type { GenerateOptions } from '../../protocol/options.ts';
import type { Mode, StopReason } from '../../protocol/trace.ts';
import { renderChat } from '../data/chat.ts';
import type { Tokenizer } from '../data/tokenizer.ts';
import { decode, type DecodeMemory, type DecodeRequest } from '../decoding/decode.ts';
import type { Gate } from '../decoding/gate.ts';
import type { DraftOptions } from '../decoding/block.ts';
import { exitId } from '../exits/spec.ts';
import type { StagedModel } from '../runtime/staged-model.ts';
import type { Calibration, StoredGate } from '../checkpoint/checkpoint.ts';
import { inStreamOrder } from './backbone.ts';
import { openGenerator, type Generator } from './generator.ts';
import { askedExits, calibratedThresholds, modeOf, modeWarning, policyOf, policyText } from './mode.ts';

/** @throws UserError for a model, checkpoint or prompt that cannot be used. */
export async function* generate(options: GenerateOptions, signal: AbortSignal): AsyncGenerator<GenerateEvent, void> {
  yield { type: 'phase', phase: 'load', detail: options.model };
  const generator = await openGenerator(options, signal);
  const { model, staged, device, memory, calibration } = generator;
  const decoding = await request(options, generator, signal);
  yield {
    type: 'ready',
    model: model.name,
    layers: model.spec.layers.length,
    exits: inStreamOrder(generator.exits).map((exit) => ({ exit: exitId(exit), layer: exit.layer })),
    device: device.name,
    mode: modeOf(options, calibration),
    policy: policyText(options, calibration),
  };
  const warning = modeWarning(options, calibration);
  if (warning !== null) yield { type: 'warning', message: warning };
  yield { type: 'phase', phase: 'generate', detail: plural(decoding.prompts.length, 'prompt') };
  for await (const event of follow(staged, decoding, memory)) {
    for (const message of generator.warnings()) yield { type: 'warning', message };
    yield event;
  }
}

async function encodePrompt(
  tokenizer: Tokenizer,
  text: string,
  { chat, system }: GenerateOptions,
  signal: AbortSignal,
): Promise<number[]> {
  if (!chat) return tokenizer.encode(text);
  const messages = [...(system ? [{ role: 'system', content: system }] : []), { role: 'user', content: text }];
  const rendered = await renderChat(tokenizer, messages, { addGenerationPrompt: true, signal });
  return tokenizer.encode(rendered, { addSpecial: false });
}

async function request(options: GenerateOptions, generator: Generator, signal: AbortSignal): Promise<DecodeRequest> {
  const { model, tokenizer, calibration } = generator;
  if (options.prompt.length === 0) throw userError('bad-argument', 'There is no prompt.', 'Give one with --prompt.');
  checkExitNames(options, generator);
  const mode = modeOf(options, calibration);
  const isAsked = askedExits(options, calibration, model.spec.layers.length);
  const isCalibrated = calibratedThresholds(options, calibration) !== null;
  const { temperature, topK, topP, minP, repetitionPenalty } = options;
  return {
    prompts: await Promise.all(options.prompt.map((text) => encodePrompt(tokenizer, text, options, signal))),
    maxTokens: options.maxTokens,
    policy: policyOf(options, calibration),
    enabled: (exit) => mode === 'fast' && isAsked(exit),
    drafts: draftsOf(mode, options.drafts, isAsked),
    gates: isCalibrated && calibration ? gatesOf(calibration) : new Map(),
    sampling: { temperature, topK, topP, minP, repetitionPenalty },
    seed: options.seed,
    endOfText: tokenizer.eosIds,
    stopStrings: options.stop,
    candidates: options.candidates,
    codec: tokenizer,
    isCancelled: () => signal.aborted,
  };
}

/** Every exit that the options name must be one of the checkpoint's. */
function checkExitNames(
  { disable, threshold, exits, mode, candidates }: GenerateOptions,
  generator: Pick<Generator, 'exits'>,
): void {
  // At full depth exits are not even opened.
  if (exits === null || (mode === 'full' && candidates === 0)) return;
  const known = generator.exits.map((exit) => ({ id: exitId(exit), layer: String(exit.layer) }));
  const isUnknown = (name: string): boolean => known.every(({ id, layer }) => id !== name && layer !== name);
  const disabled = disable.find(isUnknown);
  const ids = `The exits are ${known.map(({ id }) => id).join(', ')}.`;
  if (disabled !== undefined) throw userError('bad-argument', `There is no exit "${disabled}" to disable.`, ids);
  const thresholded = Object.keys(threshold.exits).find(isUnknown);
  if (thresholded !== undefined)
    throw userError('bad-argument', `There is no exit "${thresholded}" to have a threshold.`, ids);
}

export function gatesOf({ gates }: Calibration): Map<string, Gate> {
  const read = ([exit, { weights, bias, least }]: [string, StoredGate]): [string, Gate] => {
    const bytes = Uint8Array.from(Buffer.from(weights, 'base64'));
    return [exit, { weights: new Float32Array(bytes.buffer), bias, least }];
  };
  return new Map(Object.entries(gates).map(read));
}

/** The text drafts in both modes; exits only where the final exit has the last word. */
function draftsOf(mode: Mode, limit: number, isAsked: (exit: string) => boolean): DraftOptions | null {
  if (mode === 'full' || limit === 0) return null;
  return { lookup: true, exits: (exit) => mode === 'lossless' && isAsked(exit), limit };
}

/** Passes tokens on and adds up what `generated` reports. */
async function* follow(
  staged: StagedModel,
  of: DecodeRequest,
  memory: DecodeMemory,
): AsyncGenerator<GenerateEvent, void> {
  const texts = of.prompts.map(() => '');
  const stops: StopReason[] = of.prompts.map(() => 'cancelled');
  let tokens = 0;
  let layers = 0;
  let prompt = { tokens: 0, seconds: 0 };
  const started = performance.now();
  for await (const event of decode(staged, of, memory)) {
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
    layers: staged.spec.layers.length,
    tokensPerSecond: seconds > 0 ? Math.max(0, tokens - of.prompts.length) / seconds : 0,
    promptSeconds: prompt.seconds,
  };
}
