/**
 * Writes texts for a server: requests come through the inbox and join a batch that runs (decoding/batch.ts). Between two tokens it
 * looks whether there are new ones, and whether somebody has gone. Knows no HTTP.
 */
import { setImmediate } from 'node:timers/promises';
import { UserError } from '../../protocol/errors.ts';
import { toErrorRecord, type Inbox } from '../../protocol/jobs.ts';
import type { ServeOptions } from '../../protocol/options.ts';
import type { PromptToken, ServedModel, ServeEvent, ServeMessage, WriteRequest } from '../../protocol/serving.ts';
import { openBatch, type Batch, type BatchEvent, type BatchRequest, type BatchShape } from '../decoding/batch.ts';
import { exitId } from '../exits/spec.ts';
import { inStreamOrder } from './backbone.ts';
import { openGenerator, type Generator } from './generator.ts';
import { endingWithLine } from './line-limit.ts';
import { modeWarning } from './mode.ts';
import { sequenceOptions } from './sequence-options.ts';
import { answer, encodePrompt } from './serve-texts.ts';
import { servedContext } from './serve-memory.ts';
import { servedGeneration } from './serve-options.ts';

/** A text in the batch, and whose it is. */
interface Text extends BatchRequest {
  readonly id: number;
  readonly text: number;
  readonly echo: boolean;
}

type ServedShape = BatchShape & { readonly contextLength: number };

/** @throws UserError for a model or checkpoint that cannot be used, and where memory or a device is lost. */
export async function* serve(
  options: ServeOptions,
  signal: AbortSignal,
  inbox: Inbox<ServeMessage>,
): AsyncGenerator<ServeEvent, void> {
  yield { type: 'phase', phase: 'load', detail: options.model };
  const given = servedGeneration(options);
  // A request may ask any exit of the checkpoint: all are opened, as for somebody who wants to see what each says.
  const generator = await openGenerator({ ...given, candidates: 1 }, signal);
  try {
    yield* serveWith(generator, options, signal, inbox);
  } finally {
    generator.release();
  }
}

async function* serveWith(
  generator: Generator,
  options: ServeOptions,
  signal: AbortSignal,
  inbox: Inbox<ServeMessage>,
): AsyncGenerator<ServeEvent, void> {
  const shape = { rows: options.parallel, contextLength: servedContext(generator.staged, options) };
  yield { type: 'serving', model: servedModel(generator, shape) };
  const warning = modeWarning(servedGeneration(options), generator.calibration);
  if (warning !== null) yield { type: 'warning', message: warning };
  yield* answerAll(generator, shape, signal, inbox);
}

async function* answerAll(
  generator: Generator,
  shape: ServedShape,
  signal: AbortSignal,
  inbox: Inbox<ServeMessage>,
): AsyncGenerator<ServeEvent, void> {
  const { contextLength } = shape;
  const newBatch = (): Batch<Text> => openBatch(generator.staged, shape, generator.session.pace);
  let batch = newBatch();
  /** Texts of each request that is not over; none while its prompts are still encoded. */
  const open = new Map<number, Text[]>();
  let events: ServeEvent[] = [];

  const refuse = (id: number, error: unknown): void => {
    for (const text of open.get(id) ?? []) batch.leave(text);
    open.delete(id);
    events.push({ type: 'refused', id, error: toErrorRecord(error) });
  };
  const begin = async (id: number, request: WriteRequest): Promise<void> => {
    const texts: Text[] = [];
    open.set(id, texts);
    const made = await textsOf(id, request, generator, contextLength, signal);
    // It may have gone in the meantime.
    if (open.get(id) !== texts) return;
    for (const text of made) {
      batch.join(text);
      texts.push(text);
    }
  };
  const take = (message: ServeMessage): void => {
    const { id } = message;
    switch (message.type) {
      case 'write':
        return void begin(id, message.request)
          .catch((error: unknown) => refuse(id, error))
          .then(() => inbox.wake());
      case 'ask':
        return void answer(message.question, generator.tokenizer, signal)
          .then(
            (given) => void events.push({ type: 'answered', id, answer: given }),
            (error: unknown) => refuse(id, error),
          )
          .then(() => inbox.wake());
      case 'cancel':
        for (const text of open.get(id) ?? []) batch.leave(text);
        open.delete(id);
    }
  };
  /** A defect costs the texts that it met, and not the server. @throws UserError where memory or a device is lost. */
  const step = async (): Promise<BatchEvent<Text>[]> => {
    try {
      return await batch.step();
    } catch (error) {
      if (error instanceof UserError) throw error;
      batch.dispose();
      batch = newBatch();
      for (const id of open.keys()) events.push({ type: 'refused', id, error: toErrorRecord(error) });
      open.clear();
      return [];
    }
  };

  try {
    while (!signal.aborted) {
      inbox.take().forEach(take);
      if (batch.running + batch.waiting > 0) {
        for (const event of await step()) {
          events.push(eventOf(event));
          if (event.type === 'stop') forget(open, event.request);
        }
      }
      for (const message of generator.warnings()) events.push({ type: 'warning', message });
      const told = events;
      events = [];
      yield* told;
      // Messages come in between.
      await setImmediate();
      if (batch.running + batch.waiting === 0 && events.length === 0) await inbox.wait();
    }
  } finally {
    batch.dispose();
  }
}

async function textsOf(
  id: number,
  request: WriteRequest,
  generator: Generator,
  contextLength: number,
  signal: AbortSignal,
): Promise<Text[]> {
  const { options, prompts, count, maxTokens, lineMilliseconds, alternatives, echo, scores } = request;
  const recordsEnd = scores !== null;
  const how = { ...sequenceOptions(options, generator), maxTokens, alternatives, scores, recordsEnd };
  const encoded = await Promise.all(
    prompts.map((prompt) => encodePrompt(prompt, generator.tokenizer, { contextLength, maxTokens }, signal)),
  );
  return encoded.flatMap(({ ids, ends }, p) =>
    Array.from({ length: count }, (_, n): Text => ({
      ...(lineMilliseconds > 0 ? endingWithLine(how, lineMilliseconds) : how),
      endOfText: [...how.endOfText, ...ends],
      prompt: ids,
      number: n,
      id,
      text: p * count + n,
      echo,
    })),
  );
}

function forget(open: Map<number, Text[]>, { id, text }: Text): void {
  const left = open.get(id)?.filter((each) => each.text !== text) ?? [];
  if (left.length > 0) open.set(id, left);
  else open.delete(id);
}

function eventOf(event: BatchEvent<Text>): ServeEvent {
  const { id, text } = event.request;
  switch (event.type) {
    case 'prompt':
      return {
        type: 'read',
        id,
        text,
        tokens: event.request.prompt.length,
        remembered: event.remembered,
        prompt: promptTokens(event),
      };
    case 'tokens':
      return { type: 'written', id, text, tokens: event.tokens };
    case 'stop':
      return { type: 'stopped', id, text, reason: event.reason };
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

function servedModel(
  { model, exits, device, tokenizer }: Generator,
  { rows, contextLength }: ServedShape,
): ServedModel {
  const { spec, name } = model;
  const textOf = (id: number | null | undefined): string => (typeof id === 'number' ? tokenizer.tokenText(id) : '');
  return {
    name,
    layers: spec.layers.length,
    vocabulary: spec.vocabulary,
    contextLength,
    trainedContextLength: spec.contextLength,
    parallel: rows,
    exits: inStreamOrder(exits).map(exitId),
    device: device.name,
    chatTemplate: tokenizer.chatTemplate,
    bosText: textOf(tokenizer.bosId),
    eosText: textOf(tokenizer.eosIds[0]),
    fills: tokenizer.fim !== null,
  };
}
