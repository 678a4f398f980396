/** Following a job: the lines that its ranks report, as they come in a file that grows. Knows no launcher. */
import { setTimeout } from 'node:timers/promises';
import { userError } from '../../protocol/errors.ts';
import { openRangeFile, statOf } from '../system/files.ts';
import { readEvent, type FailedEvent, type FinishedEvent, type RankEvent } from './reported.ts';

/** A job that runs elsewhere. */
export interface RunningJob {
  /** The whole lines that were reported since the last call, one event each. */
  lines(): Promise<string>;
  /** Null while it runs; else why it ended, as a sentence. */
  ended(): Promise<string | null>;
  /** Whether it has saved a state to go on from. */
  hasState(): boolean;
}

const pollMilliseconds = 200;

/**
 * Yields what is reported, to the last event. `stop` is called once, as soon as the signal is aborted.
 * @throws UserError `device` with the job's own sentence if it failed, `bad-data` if its reports cannot be read.
 */
export async function* followJob(
  job: RunningJob,
  signal: AbortSignal,
  stop: () => Promise<void>,
): AsyncGenerator<Exclude<RankEvent, FinishedEvent | FailedEvent>, FinishedEvent> {
  let stopping = null as Promise<void> | null;
  const ask = (): void => {
    stopping ??= stop();
    // It is waited for below, perhaps much later.
    stopping.catch(() => {});
  };
  // Not only between two questions: a cluster may take long to answer one.
  signal.addEventListener('abort', ask);
  try {
    for (;;) {
      if (signal.aborted) ask();
      await stopping;
      // Checked before the lines are read, so that a job's last lines are there when it has ended.
      const end = await job.ended();
      for (const line of (await job.lines()).split('\n')) {
        const event = readEvent(line);
        if (event?.type === 'finished') return event;
        if (event?.type === 'failed') throw userError('device', event.message);
        if (event) yield event;
      }
      if (end !== null)
        throw userError('device', end, job.hasState() ? 'Go on from its last state with --resume.' : 'Start it again.');
      await setTimeout(pollMilliseconds);
    }
  } finally {
    signal.removeEventListener('abort', ask);
  }
}

/** Reads a file that grows, and may not be there yet: each time the whole lines that are new. */
export function newLinesOf(file: string): () => string {
  let read = 0;
  return () => {
    if (statOf(file) === null) return '';
    const opened = openRangeFile(file);
    try {
      const bytes = opened.read(read, Math.max(0, Math.min(opened.size - read, largestReading)));
      const whole = bytes.subarray(0, bytes.lastIndexOf(lineFeed) + 1);
      read += whole.length;
      return Buffer.from(whole).toString();
    } finally {
      opened.close();
    }
  };
}

const lineFeed = 0x0a;
/** Bytes; the rest is for the next time. */
const largestReading = 2 ** 24;

/** Calls a function at most once in a period; in between it returns the last result. */
export function once<T>(milliseconds: number, ask: () => Promise<T>): () => Promise<T> {
  let [at, answer]: [number, Promise<T> | null] = [0, null];
  return () => {
    if (answer === null || Date.now() - at >= milliseconds) [at, answer] = [Date.now(), ask()];
    return answer;
  };
}
