/**
 * One model and one batch, which every text of a thread joins: steps run while a reader waits for an event of
 * its texts. Knows no thread and no client.
 */
import { giveWay } from '../runtime/give-way.ts';
import type { StagedModel } from '../runtime/staged-model.ts';
import { openBatch, type Batch, type BatchEvent, type BatchRequest, type BatchShape } from './batch.ts';
import { newPace, type Pace } from './drafts/pace.ts';

export interface Session {
  readonly model: StagedModel;
  /** What was learned of this machine. */
  readonly pace: Pace;
  /**
   * Writes texts together: their events until all are over. If the reader leaves the loop early, the other texts are cancelled.
   * @throws UserError for a prompt that cannot be read, before any is written; the error of a step, for all texts that took part in it.
   */
  write<Request extends BatchRequest>(texts: readonly Request[]): AsyncGenerator<BatchEvent<Request>, void>;
  /** Cancels one text: its reader gets no further events of it. */
  leave(text: BatchRequest): void;
  /** Takes no further step; resolves once the one under way has ended. Until then, nothing that it uses may be freed. */
  stop(): Promise<void>;
  dispose(): void;
}

/** Events of the texts of one reader. */
interface Reader {
  readonly open: Set<BatchRequest>;
  events: BatchEvent<BatchRequest>[];
  failure: { readonly error: unknown } | null;
  /** Null while it is busy with what it has. */
  wake: (() => void) | null;
}

/** Most texts at a time by default: more would wait longer for each other than in turn. */
const usualShape: BatchShape = { rows: 64, positions: 0 };

export function openSession(model: StagedModel, shape: BatchShape = usualShape, pace: Pace = newPace(model)): Session {
  let batch: Batch<BatchRequest> | null = null;
  const readers = new Map<BatchRequest, Reader>();
  let isRunning = false;
  let running = Promise.resolve();
  let isStopped = false;

  const wake = (reader: Reader): void => {
    reader.wake?.();
    reader.wake = null;
  };

  const close = (text: BatchRequest): void => {
    const reader = readers.get(text);
    readers.delete(text);
    if (!reader) return;
    reader.open.delete(text);
    wake(reader);
  };

  /** After a step that failed the batch cannot continue: rows may be half written. */
  const fail = (error: unknown): void => {
    batch?.dispose();
    batch = null;
    for (const reader of new Set(readers.values())) {
      reader.failure = { error };
      reader.open.clear();
      wake(reader);
    }
    readers.clear();
  };

  const runAll = async (): Promise<void> => {
    try {
      while (batch !== null && !isStopped && [...readers.values()].some((reader) => reader.wake !== null)) {
        for (const event of await batch.step()) {
          const reader = readers.get(event.request);
          if (!reader) continue;
          reader.events.push(event);
          wake(reader);
          if (event.type === 'stop') close(event.request);
        }
        await giveWay();
      }
    } catch (error) {
      fail(error);
    } finally {
      isRunning = false;
    }
  };

  const run = (): void => {
    if (isRunning) return;
    isRunning = true;
    running = runAll();
  };

  const leave = (text: BatchRequest): void => {
    const reader = readers.get(text);
    if (!reader) return;
    batch?.leave(text);
    reader.events = reader.events.filter(({ request }) => request !== text);
    close(text);
  };

  return {
    model,
    pace,
    leave,
    async *write<Request extends BatchRequest>(texts: readonly Request[]) {
      const reader: Reader = { open: new Set(), events: [], failure: null, wake: null };
      try {
        for (const text of texts) {
          (batch ??= openBatch(model, shape, pace, texts.length)).join(text);
          reader.open.add(text);
          readers.set(text, reader);
        }
        for (;;) {
          while (reader.events.length > 0) yield reader.events.shift() as BatchEvent<Request>;
          if (reader.failure !== null) throw reader.failure.error;
          if (reader.open.size === 0) return;
          const woken = new Promise<void>((resolve) => (reader.wake = resolve));
          run();
          await woken;
        }
      } finally {
        for (const text of [...reader.open]) leave(text);
      }
    },
    async stop() {
      isStopped = true;
      await running;
    },
    dispose() {
      batch?.dispose();
      batch = null;
    },
  };
}
