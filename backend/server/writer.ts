/**
 * The model that is served, as requests see it: the host's side of the thread that writes. Hands its events to whoever asked, and
 * tells it of those who have gone. Knows no HTTP.
 */
import { userError } from '../../protocol/errors.ts';
import { fromErrorRecord } from '../../protocol/jobs.ts';
import type { Answers, Question, ServedModel, ServeEvent, TextEvent, WriteRequest } from '../../protocol/serving.ts';
import type { Job } from '../worker/engine.ts';
import { refusal } from './failures.ts';
import { newCounts, type Counts } from './metrics.ts';

export interface Writer {
  /** Null while it loads. */
  model(): ServedModel | null;
  /**
   * The events of a request, until all its texts have ended. Leaving early or aborting ends them in the thread, too; after `seconds`
   * they end with what there is.
   * @throws UserError as the model refuses; Refusal where too many wait.
   */
  write(request: WriteRequest, signal: AbortSignal): AsyncGenerator<TextEvent, void>;
  ask<Kind extends Question['kind']>(question: Extract<Question, { kind: Kind }>): Promise<Answers[Kind]>;
  readonly counts: Counts;
}

export interface WriterLimits {
  /** Requests that may be open beside those that are written. */
  readonly queue: number;
  readonly seconds: number;
}

interface Pending {
  take(event: ServeEvent): void;
  fail(error: Error): void;
}

/** `onEvent`: told of whatever no request waits for. */
export function openWriter(
  job: Pick<Job<'serve'>, 'send' | 'read'>,
  limits: WriterLimits,
  onEvent: (event: ServeEvent) => void,
): Writer {
  const pending = new Map<number, Pending>();
  const counts = newCounts();
  let model: ServedModel | null = null;
  let over: Error | null = null;
  let ids = 0;

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

  return {
    model: () => model,
    counts,
    async *write(request, signal) {
      checkReady();
      if (pending.size >= model!.parallel + limits.queue) {
        counts.refused++;
        throw refusal(503, 'overloaded', 'Too many requests wait: come back later.', { retryAfter: 1 });
      }
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
      const abort = (): void => give(userError('cancelled', 'The client has gone.'));
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
      const open = new Set(Array.from({ length: request.prompts.length * request.count }, (_, i) => i));
      counts.open(open.size);
      try {
        if (signal.aborted) abort();
        else job.send({ type: 'write', id, request });
        while (open.size > 0) {
          if (failure !== null) throw failure as Error;
          const event = events.shift();
          if (event?.type === 'refused') {
            isRefused = true;
            throw fromErrorRecord(event.error);
          }
          if (event?.type === 'read' || event?.type === 'written' || event?.type === 'stopped') {
            counts.count(event);
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
        counts.close(open.size);
        if (open.size > 0 && !isRefused) job.send({ type: 'cancel', id });
      }
    },
    ask<Kind extends Question['kind']>(question: Extract<Question, { kind: Kind }>): Promise<Answers[Kind]> {
      return new Promise((resolve, reject) => {
        checkReady();
        const id = ids++;
        const settle = (act: () => void): void => {
          pending.delete(id);
          act();
        };
        pending.set(id, {
          take(event) {
            if (event.type === 'answered') settle(() => resolve(event.answer as Answers[Kind]));
            else if (event.type === 'refused') settle(() => reject(fromErrorRecord(event.error)));
          },
          fail: (error) => settle(() => reject(error)),
        });
        job.send({ type: 'ask', id, question });
      });
    },
  };
}
