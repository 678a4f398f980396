/**
 * The served model as requests see it: the host's side of the decoding thread. Passes its events to the request that they belong to, and
 * tells it which clients have gone. Knows no HTTP.
 */
import { userError, type UserError } from '../../protocol/errors.ts';
import { fromErrorRecord } from '../../protocol/jobs.ts';
import type {
  AcceptedEvent,
  Answers,
  Sender,
  Question,
  ServedModel,
  ServeEvent,
  TextEvent,
  WriteRequest,
} from '../../protocol/serving.ts';
import type { Job } from '../worker/engine.ts';
import { newAdmission, type AdmissionLimits } from './http/admission.ts';
import { refusal } from './http/failures.ts';
import { newMailbox } from './mailbox.ts';
import { newCounts, type Counts } from './http/metrics.ts';
import { count, type Tally } from './http/tally.ts';
import { newWritingTexts, type WritingText } from './writing-texts.ts';

/** The client of a request, its contents, and its deadline. */
export interface Caller {
  readonly sender: Sender;
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

export interface WriterLimits extends AdmissionLimits {
  readonly seconds: number;
}

/** What waits for the events of one request. */
interface Pending {
  put(event: ServeEvent): void;
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
  const admission = newAdmission(limits, counts);
  const writing = newWritingTexts();
  let model: ServedModel | null = null;
  let over: Error | null = null;
  let ids = 0;

  const follow = async (): Promise<void> => {
    let error: Error = userError('cancelled', 'The server stops.');
    try {
      for await (const event of job.read()) {
        if (event.type === 'serving') model = event.model;
        if ('id' in event) pending.get(event.id)?.put(event);
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

  return {
    model: () => model,
    counts,
    writing: () => writing.list(),
    async *write(request, { sender, signal, tally }) {
      checkReady();
      const asked = request.prompts.length * request.count;
      const open = new Set(Array.from({ length: asked }, (_, i) => i));
      const giveBack = admission.texts(sender.client, open.size, model!.parallel);
      const id = ids++;
      const mailbox = newMailbox<ServeEvent>();
      const unread = new Set(open);
      let isRefused = false;
      let isOutOfTime = false;
      const abort = (): void => mailbox.fail(gone());
      const timer = setTimeout(() => mailbox.close(), 1000 * limits.seconds);
      pending.set(id, mailbox);
      signal.addEventListener('abort', abort);
      counts.open(open.size);
      try {
        if (signal.aborted) abort();
        else job.send({ type: 'write', id, sender, request });
        while (open.size > 0) {
          const event = await mailbox.next();
          if (event === null) {
            // A text that was not read has no vector and no scores.
            const needsAll = request.embedding !== null || request.scores !== null;
            if (needsAll ? unread.size > 0 : unread.size === asked)
              throw refusal(503, 'overloaded', 'It took too long: come back later, or with fewer texts.');
            for (const text of open) {
              const stopped = { type: 'stopped', id, text, reason: 'cancelled', stop: null } as const;
              counts.count(stopped);
              count(tally, stopped);
              yield stopped;
            }
            isOutOfTime = true;
            return;
          }
          if (event.type === 'refused') {
            isRefused = true;
            throw fromErrorRecord(event.error);
          }
          if (event.type === 'accepted') yield event;
          else if (event.type === 'read' || event.type === 'written' || event.type === 'stopped') {
            counts.count(event);
            count(tally, event);
            writing.follow(event);
            unread.delete(event.text);
            if (event.type === 'stopped') open.delete(event.text);
            yield event;
          }
        }
      } finally {
        clearTimeout(timer);
        signal.removeEventListener('abort', abort);
        pending.delete(id);
        giveBack();
        counts.close(isOutOfTime ? 0 : open.size, tally);
        for (const text of open) writing.drop(id, text);
        if (open.size > 0 && !isRefused) job.send({ type: 'cancel', id });
      }
    },
    async ask<Kind extends Question['kind']>(
      question: Extract<Question, { kind: Kind }>,
      caller: Caller,
    ): Promise<Answers[Kind]> {
      checkReady();
      const { sender, bytes, signal } = caller;
      const giveBack = admission.question(sender.client, bytes);
      const id = ids++;
      let leave: () => void = () => undefined;
      try {
        if (signal.aborted) throw gone();
        // `send` throws if the question cannot be copied to the thread: nothing waits for an answer yet.
        job.send({ type: 'ask', id, sender, question });
        return await new Promise<Answers[Kind]>((resolve, reject) => {
          leave = () => {
            job.send({ type: 'cancel', id });
            reject(gone());
          };
          signal.addEventListener('abort', leave);
          pending.set(id, {
            put(event) {
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
