/** What the ranks report, as they report it: lines of JSON that grow in a file, or in a cluster's log. Knows no launcher. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { userError } from '../../protocol/errors.ts';
import type {
  EvaluationEvent,
  ExitScore,
  PhaseEvent,
  ProgressEvent,
  StepEvent,
  WarningEvent,
} from '../../protocol/events.ts';

/** Bytes that all ranks together gave away in a step, by what they were. */
export interface Traffic {
  readonly hidden: number;
  readonly final: number;
  readonly gradients: number;
  readonly bookkeeping: number;
  readonly tensor: number;
}

/** Bytes that the rank with most of each held. */
export interface HeldMemory {
  readonly backbone: number;
  readonly exits: number;
  readonly heads: number;
}

export interface FinishedEvent {
  readonly type: 'finished';
  readonly step: number;
  readonly before: readonly ExitScore[];
  readonly after: readonly ExitScore[];
  readonly seconds: number;
  readonly stopped: boolean;
  readonly traffic: Traffic;
  readonly memory: HeldMemory;
}

export type RankEvent =
  | PhaseEvent
  | ProgressEvent
  | WarningEvent
  | StepEvent
  | EvaluationEvent
  | FinishedEvent
  | { readonly type: 'failed'; readonly message: string };

/** A job that somebody runs. */
export interface RunningJob {
  /** Whole lines that were reported since this was last asked, an event each. */
  lines(): Promise<string>;
  /** Null while it runs; else why it ended, as a sentence. */
  ended(): Promise<string | null>;
  /** Copies what is saved into the run's folder, where the ranks write elsewhere; false where nothing is saved there. */
  bringBack(signal?: AbortSignal): Promise<boolean>;
  close(): void;
}

const pollMilliseconds = 200;

/**
 * Yields what is reported, to the last event. `stop` is called once where the signal is aborted.
 * @throws UserError `device` with the job's own sentence where it failed.
 */
export async function* followJob(
  job: RunningJob,
  signal: AbortSignal,
  stop: () => Promise<void>,
): AsyncGenerator<Exclude<RankEvent, FinishedEvent | { type: 'failed' }>, FinishedEvent> {
  let stopping = false;
  for (;;) {
    if (signal.aborted && !stopping) {
      stopping = true;
      await stop();
    }
    // Asked before the lines are read: what a job said last is there once it has ended.
    const end = await job.ended();
    for (const line of (await job.lines()).split('\n')) {
      const event = readEvent(line);
      if (event?.type === 'finished') return event;
      if (event?.type === 'failed') throw userError('device', event.message);
      if (event) yield event;
    }
    if (end !== null) throw userError('device', end, 'Go on from its last state with --resume.');
    await setTimeout(pollMilliseconds);
  }
}

/** Null for what is no event: a log has lines of others, too. */
export function readEvent(line: string): RankEvent | null {
  const begin = line.indexOf('{');
  if (begin < 0) return null;
  try {
    const value: unknown = JSON.parse(line.slice(begin));
    const isEvent = typeof value === 'object' && value !== null && 'type' in value && types.has(String(value.type));
    return isEvent ? (value as RankEvent) : null;
  } catch {
    return null;
  }
}

const types = new Set(['phase', 'progress', 'warning', 'step', 'evaluation', 'finished', 'failed']);

/** Reads a file that grows, and may not be there yet: each time the whole lines that are new. */
export function newLinesOf(file: string): () => string {
  let read = 0;
  return () => {
    let descriptor: number;
    try {
      descriptor = openSync(file, 'r');
    } catch {
      return '';
    }
    try {
      const bytes = Buffer.alloc(Math.max(0, fstatSync(descriptor).size - read));
      const there = bytes.subarray(0, readSync(descriptor, bytes, 0, bytes.length, read));
      const whole = there.subarray(0, there.lastIndexOf('\n') + 1);
      read += whole.length;
      return whole.toString();
    } finally {
      closeSync(descriptor);
    }
  };
}

/** Of a text that grows: each time the whole lines that are new. */
export function newLinesIn(): (text: string) => string {
  let taken = 0;
  return (text) => {
    const lines = text.slice(taken, text.lastIndexOf('\n') + 1);
    taken += lines.length;
    return lines;
  };
}

/** Asked at most so often; in between the answer is that of the last time. */
export function once<T>(milliseconds: number, ask: () => Promise<T>): () => Promise<T> {
  let [at, answer]: [number, Promise<T> | null] = [0, null];
  return () => {
    if (answer === null || Date.now() - at >= milliseconds) [at, answer] = [Date.now(), ask()];
    return answer;
  };
}
