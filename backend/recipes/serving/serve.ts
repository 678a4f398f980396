/**
 * Writes texts for a server: requests come through the inbox, and their texts join the session of the model, clients in turn. Knows no
 * HTTP.
 */
import { setImmediate } from 'node:timers/promises';
import { UserError } from '../../../protocol/errors.ts';
import { toErrorRecord, type Inbox } from '../../../protocol/jobs.ts';
import type { ServeOptions } from '../../../protocol/options/options.ts';
import type {
  Answers,
  Sender,
  Question,
  ServedChat,
  ServedModel,
  ServeEvent,
  ServeMessage,
  WriteRequest,
} from '../../../protocol/serving.ts';
import type { Steps } from '../../data/steps.ts';
import { checkPrompt } from '../../decoding/prompts/check-prompt.ts';
import { exitId } from '../../exits/spec.ts';
import { inStreamOrder } from '../opening/backbone.ts';
import { openDesk, type Desk, type Task } from './desk.ts';
import { openGenerator, type Generator } from '../opening/generator.ts';
import { modeWarning, promptLayerOf } from '../../decoding/leaving/mode.ts';
import { stoppingAt } from '../../decoding/prompts/prompt-exit.ts';
import { sequenceOptions } from '../../decoding/sequence-options.ts';
import { newGrammars } from './grammars.ts';
import { oneByOne } from './one-by-one.ts';
import { newTextQueue } from './queue.ts';
import { scopes, textsOf, type Text } from './requests.ts';
import { answer, plainPrompt, render } from './texts.ts';
import { servedContext } from './lengths.ts';
import { servedGeneration } from './options.ts';

interface ServedShape {
  /** Most texts at a time. */
  readonly parallel: number;
  /** Most tokens of a text, prompt included. */
  readonly contextLength: number;
}

/** @throws UserError for a model or checkpoint that cannot be used, and if memory or a device is lost. */
export async function* serve(
  options: ServeOptions,
  signal: AbortSignal,
  inbox: Inbox<ServeMessage>,
): AsyncGenerator<ServeEvent, void> {
  yield { type: 'phase', phase: 'load', detail: options.model };
  const given = servedGeneration(options);
  // A request may use any exit of the checkpoint, so all are opened, as if every exit's predictions were requested.
  const use = { rememberedBytes: options.cacheMegabytes * 2 ** 20, texts: options.parallel, measures: true };
  const generator = await openGenerator({ ...given, candidates: 1 }, signal, use);
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
  const shape = { parallel: options.parallel, contextLength: servedContext(generator.staged, options) };
  const given = servedGeneration(options);
  // What no request could be answered with is refused before the first.
  sequenceOptions(given, generator);
  stoppingAt(generator.staged, promptLayerOf(given, generator.calibration, generator.staged.exits), 0);
  yield { type: 'serving', model: servedModel(generator, shape) };
  const warning = modeWarning(given, generator.calibration);
  if (warning !== null) yield { type: 'warning', message: warning };
  yield* answerAll(generator, shape, scopes[options.cacheScope], signal, inbox);
}

/** A request that is not over. */
interface OpenRequest {
  /** Texts that are being written or wait for their turn. */
  readonly texts: Set<Text>;
  /** Work on its prompts before they can be written, or on its question. */
  task: Task | null;
  /** Its client is gone. */
  readonly gone: AbortController;
}

/** Milliseconds of work on prompts and on questions between two steps, and if nothing is written. */
const besideTexts = 8;
const withoutTexts = 50;

async function* answerAll(
  generator: Generator,
  shape: ServedShape,
  scopeOf: (id: number, sender: Sender) => string,
  signal: AbortSignal,
  inbox: Inbox<ServeMessage>,
): AsyncGenerator<ServeEvent, void> {
  const { tokenizer, session } = generator;
  const { contextLength } = shape;
  const grammars = newGrammars(tokenizer);
  /** Memory or a device that is lost: nothing can be written any more. */
  const losses: UserError[] = [];
  const open = new Map<number, OpenRequest>();
  // Prompts take precedence over questions.
  const prompts = openDesk();
  const questions = openDesk();
  const templates = oneByOne();
  let events: ServeEvent[] = [];

  const queue = newTextQueue(session, {
    parallel: shape.parallel,
    onEvent(event) {
      events.push(event);
      inbox.wake();
    },
    onEnd(text, error) {
      // Anything else ends the texts of its step, and not the server.
      if (isLoss(error)) losses.push(error);
      else if (error !== null) refuse(text.id, error);
      forget(open, text);
      inbox.wake();
    },
  });

  const close = (id: number): void => {
    const request = open.get(id);
    if (request === undefined) return;
    open.delete(id);
    request.gone.abort();
    for (const text of request.texts) queue.remove(text);
    for (const desk of [prompts, questions]) if (request.task) desk.remove(request.task);
  };
  const refuse = (id: number, error: unknown): void => {
    if (!open.has(id)) return;
    close(id);
    events.push({ type: 'refused', id, error: toErrorRecord(error) });
  };
  const tell = (id: number, given: Answers[Question['kind']]): void => {
    close(id);
    events.push({ type: 'answered', id, answer: given });
  };
  const put = (desk: Desk, id: number, { client }: Sender, steps: Steps<void>): void => {
    const request = open.get(id);
    // Its client may have left in the meantime.
    if (request === undefined) return;
    request.task = { client, steps, refuse: (error) => refuse(id, error) };
    desk.add(request.task);
  };
  const rendered = (id: number, { client }: Sender, chat: ServedChat): Promise<string> => {
    const { signal: gone } = open.get(id)!.gone;
    return templates(client, () => render(chat, tokenizer, gone));
  };
  const writeTexts = async (id: number, sender: Sender, request: WriteRequest): Promise<void> => {
    const { texts } = open.get(id)!;
    const plain = await Promise.all(
      request.prompts.map((prompt) => plainPrompt(prompt, (chat) => rendered(id, sender, chat))),
    );
    const owner = { id, turn: [sender.client, String(id)], scope: scopeOf(id, sender) };
    put(prompts, id, sender, joining());
    function* joining(): Steps<void> {
      const made = yield* textsOf(request, plain, owner, generator, grammars, contextLength);
      for (const { prompt, promptExit } of made) {
        checkPrompt(prompt, { ...generator.staged.spec, contextLength });
        stoppingAt(generator.staged, promptExit, prompt.length);
      }
      for (const text of made) texts.add(text);
      events.push({ type: 'accepted', id });
      queue.add(made);
    }
  };
  const answerQuestion = async (id: number, sender: Sender, question: Question): Promise<void> => {
    if (question.kind === 'template') return tell(id, await rendered(id, sender, question.chat));
    put(questions, id, sender, answering(question));
    function* answering(given: Exclude<Question, { kind: 'template' }>): Steps<void> {
      tell(id, yield* answer(given, tokenizer));
    }
  };
  const take = (message: ServeMessage): void => {
    const { id } = message;
    if (message.type === 'cancel') return close(id);
    open.set(id, { texts: new Set(), task: null, gone: new AbortController() });
    const begun =
      message.type === 'write'
        ? writeTexts(id, message.sender, message.request)
        : answerQuestion(id, message.sender, message.question);
    void begun.catch((error: unknown) => refuse(id, error)).then(() => inbox.wake());
  };
  try {
    while (!signal.aborted) {
      const [lost] = losses;
      if (lost) throw lost;
      inbox.take().forEach(take);
      const budget = queue.running > 0 ? besideTexts : withoutTexts;
      for (const desk of [prompts, questions]) desk.work(budget);
      for (const message of generator.warnings()) events.push({ type: 'warning', message });
      const ready = events;
      events = [];
      yield* ready;
      // Messages come in between, and steps run.
      await setImmediate();
      if (prompts.waiting + questions.waiting === 0 && events.length === 0) await inbox.wait();
    }
  } finally {
    for (const id of [...open.keys()]) close(id);
  }
}

const isLoss = (error: unknown): error is UserError =>
  error instanceof UserError && (error.code === 'out-of-memory' || error.code === 'device');

function forget(open: Map<number, OpenRequest>, text: Text): void {
  const texts = open.get(text.id)?.texts;
  texts?.delete(text);
  if (texts?.size === 0) open.delete(text.id);
}

function servedModel(
  { model, exits, device, tokenizer }: Generator,
  { parallel, contextLength }: ServedShape,
): ServedModel {
  const { spec, name } = model;
  const textOf = (id: number | null | undefined): string => (typeof id === 'number' ? tokenizer.tokenText(id) : '');
  return {
    name,
    layers: spec.layers.length,
    vocabulary: spec.vocabulary,
    contextLength,
    trainedContextLength: spec.contextLength,
    parallel,
    exits: inStreamOrder(exits).map(exitId),
    device: device.name,
    chatTemplate: tokenizer.chatTemplate,
    bosText: textOf(tokenizer.bosId),
    eosText: textOf(tokenizer.eosIds[0]),
    fills: tokenizer.fim !== null,
  };
}
