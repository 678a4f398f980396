/** Texts that are written, a limited number at a time; others wait, and clients take turns. Knows no inbox. */
import type { ServeEvent } from '../../../protocol/serving.ts';
import type { Session } from '../../decoding/session.ts';
import { newTurns } from '../../decoding/turns.ts';
import { eventOf, type Text } from './requests.ts';

export interface TextQueue {
  add(texts: readonly Text[]): void;
  /** Ends a text, whether it waits or is written. */
  remove(text: Text): void;
  /** Texts that are written now. */
  readonly running: number;
}

export interface TextQueueOptions {
  /** Most texts at a time. */
  readonly parallel: number;
  readonly onEvent: (event: ServeEvent) => void;
  /** A text is over; `error`: the error that ended it, if there was one. */
  readonly onEnd: (text: Text, error: unknown) => void;
}

export function newTextQueue(session: Session, { parallel, onEvent, onEnd }: TextQueueOptions): TextQueue {
  const waiting = newTurns<Text>(({ turn }) => turn);
  let running = 0;

  const begin = (): void => {
    while (running < parallel) {
      const text = waiting.next();
      if (text === undefined) return;
      waiting.remove(text);
      running++;
      void write(text);
    }
  };

  const write = async (text: Text): Promise<void> => {
    const start = performance.now();
    let failure: unknown = null;
    try {
      for await (const event of session.write([text])) onEvent(eventOf(event, performance.now() - start));
    } catch (error) {
      failure = error;
    }
    onEnd(text, failure);
    running--;
    begin();
  };

  return {
    add(texts) {
      for (const text of texts) waiting.add(text);
      begin();
    },
    remove(text) {
      waiting.remove(text);
      session.leave(text);
    },
    get running() {
      return running;
    },
  };
}
