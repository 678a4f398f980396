/**
 * The served model as requests see it: the host's side of the decoding thread. Passes its events to the request that they belong to, and
 * tells it which clients have gone. Knows no HTTP.
 */
import { userError, type UserError } from '../../protocol/errors.ts';
import { fromErrorRecord } from '../../protocol/jobs.ts';
import type {
  AcceptedEvent,
  Answers,
  Asker,
  Question,
  ServedModel,
  ServeEvent,
  TextEvent,
  WriteRequest,
} from '../../protocol/serving.ts';
import type { Job } from '../worker/engine.ts';
import { refusal, type Refusal } from './failures.ts';
import { newCounts, type Counts } from './metrics.ts';
import { newRoom } from './room.ts';
import { count, type Tally } from './tally.ts';

/** The client of a request, its contents, and its deadline. */
export interface Caller {
  readonly asker: Asker;
  /** Length of the request's body. */
  readonly bytes: number;
  /** What becomes of it is counted there. */
  readonly tally: Tally;
  /** Fires once no client waits any more. */
  readonly signal: AbortSignal;
}

export interface Writer {
  /** Null while it loads. */
  model(): ServedModel | null;
  /**
   * The events of a request: first that it is accepted, then those of its texts until all have ended. If the reader leaves early or aborts,
   * they end in the thread, too; after `seconds` they end with what is written so far.
   * @throws UserError as the model refuses; Refusal if too many wait.
   */
  write(request: WriteRequest, caller: Caller): AsyncGenerator<AcceptedEvent | TextEvent, void>;
  /** @throws UserError as the model refuses or the caller leaves; Refusal if too many wait. */
  ask<Kind extends Question['kind']>(
    question: Extract<Question, { kind: Kind }>,
    caller: Caller,
  ): Promise<Answers[Kind]>;
  readonly counts: Counts;
  /** Texts whose prompts have been read and that have not ended. */
  writing(): readonly WritingText[];
}

export interface WritingText {
  /** A number of its request. */
  readonly request: number;
  readonly promptTokens: number;
  /** Tokens written. */
  written: number;
}

export interface WriterLimits {
  /** Texts of one client that may be open beside as many as are written at a time. */
  readonly queue: number;
  readonly seconds: number;
  /** Of the questions that one client has open, together. */
  readonly questionBytes: number;
}

/** Questions that one client may have open. */
const mostQuestions = 16;

interface Pending {
  take(event: ServeEvent): void;
  fail(error: Error): void;
}

/** `onEvent`: called with events that belong to no request. */
export function openWriter(
  job: Pick<Job<'serve'>, 'send' | 'read'>,
  limits: WriterLimits,
  onEvent: (event: ServeEvent) => void,
): Writer {
  const pending = new Map<number, Pending>();
  const counts = newCounts();
  const rooms = { texts: newRoom(), questions: newRoom(), questionBytes: newRoom() };
  let model: ServedModel | null = null;
  let over: Error | null = null;
  let ids = 0;
  const writing = new Map<string, WritingText>();
  const follows = (event: TextEvent): void => {
    const key = `${event.id} ${event.text}`;
    if (event.type === 'read') writing.set(key, { request: event.id, promptTokens: event.tokens, written: 0 });
    else if (event.type === 'stopped') writing.delete(key);
    else writing.get(key)!.written += event.tokens.length;
  };

  const follow = async (): Promise<void> => {
    let error: Error = userError('cancelled', 'The server stops.');
    try {
      for await (const event of job.read()) {
        if (event.type === 'serving') model = event.model;
        if ('id' in event) pending.get(event.id)?.take(event);
        else onEvent(event);
      }
    } catch (cause) {
      error = cause as Error;
    }
    over = error;
    for (const each of pending.values()) each.fail(error);
  };
  void follow();

  const checkReady = (): void => {
    if (over !== null) throw over;
    if (model === null) throw refusal(503, 'loading', 'The model is being loaded.', { retryAfter: 1 });
  };

  const refused = (what: string): Refusal => {
    counts.refused++;
    return refusal(503, 'overloaded', `Too many ${what} wait: come back later.`, { retryAfter: 1 });
  };

  /** Room for a question; answers how it is given back. */
  const takeRoom = ({ asker: { client }, bytes }: Caller): (() => void) => {
    const ofCount = rooms.questions.take(client, 1, mostQuestions);
    const ofBytes = ofCount && rooms.questionBytes.take(client, bytes, limits.questionBytes);
    if (ofBytes) return () => [ofCount, ofBytes].forEach((giveBack) => giveBack());
    ofCount?.();
    throw refused('questions');
  };

  return {
    model: () => model,
    counts,
    writing: () => [...writing.values()],
    async *write(request, { asker, signal, tally }) {
      checkReady();
      const open = new Set(Array.from({ length: request.prompts.length * request.count }, (_, i) => i));
      const giveBack = rooms.texts.take(asker.client, open.size, model!.parallel + limits.queue);
      if (giveBack === null) throw refused('texts');
      const id = ids++;
      const events: ServeEvent[] = [];
      let failure: Error | null = null;
      let wake: () => void = () => undefined;
      let isLate = false;
      let isRead = false;
      let isRefused = false;
      const give = (error: Error): void => {
        failure = error;
        wake();
      };
      const abort = (): void => give(gone());
      const timer = setTimeout(() => {
        isLate = true;
        wake();
      }, 1000 * limits.seconds);
      pending.set(id, {
        take(event) {
          events.push(event);
          wake();
        },
        fail: give,
      });
      signal.addEventListener('abort', abort);
      counts.open(open.size);
      try {
        if (signal.aborted) abort();
        else job.send({ type: 'write', id, asker, request });
        while (open.size > 0) {
          if (failure !== null) throw failure as Error;
          const event = events.shift();
          if (event?.type === 'refused') {
            isRefused = true;
            throw fromErrorRecord(event.error);
          }
          if (event?.type === 'accepted') yield event;
          else if (event?.type === 'read' || event?.type === 'written' || event?.type === 'stopped') {
            counts.count(event);
            count(tally, event);
            follows(event);
            isRead = true;
            if (event.type === 'stopped') open.delete(event.text);
            yield event;
          } else if (isLate) {
            if (!isRead) throw refusal(503, 'overloaded', 'It took too long to be begun: come back later.');
            for (const text of open) yield { type: 'stopped', id, text, reason: 'cancelled' };
            return;
          } else if (event === undefined) await new Promise<void>((resolve) => (wake = resolve));
        }
      } finally {
        clearTimeout(timer);
        signal.removeEventListener('abort', abort);
        pending.delete(id);
        giveBack();
        counts.close(open.size, tally);
        for (const text of open) writing.delete(`${id} ${text}`);
        if (open.size > 0 && !isRefused) job.send({ type: 'cancel', id });
      }
    },
    async ask<Kind extends Question['kind']>(
      question: Extract<Question, { kind: Kind }>,
      caller: Caller,
    ): Promise<Answers[Kind]> {
      checkReady();
      const giveBack = takeRoom(caller);
      const { asker, signal } = caller;
      const id = ids++;
      let leave: () => void = () => undefined;
      try {
        if (signal.aborted) throw gone();
        // An error of sending arrives at once, and nothing waits for it.
        job.send({ type: 'ask', id, asker, question });
        return await new Promise<Answers[Kind]>((resolve, reject) => {
          leave = () => {
            job.send({ type: 'cancel', id });
            reject(gone());
          };
          signal.addEventListener('abort', leave);
          pending.set(id, {
            take(event) {
              if (event.type === 'answered') resolve(event.answer as Answers[Kind]);
              else if (event.type === 'refused') reject(fromErrorRecord(event.error));
            },
            fail: reject,
          });
        });
      } finally {
        signal.removeEventListener('abort', leave);
        pending.delete(id);
        giveBack();
      }
    },
  };
}

const gone = (): UserError => userError('cancelled', 'The client has gone.');
