/** Times all ways on the same tasks, side by side, so that other programs on the machine affect all ways alike. */
import { cpus } from 'node:os';
import { onlyExits, type ExitSet } from '../../runtime/open.ts';
import type { StagedModel } from '../../runtime/staged-model.ts';
import { placeStagedModel, type Running } from '../../devices/fallback.ts';
import { exitId } from '../../exits/spec.ts';
import type { Model } from '../../model/open.ts';
import { openSession, type Session } from '../../decoding/session.ts';
import { timeSideBySide, type Timed } from '../side-by-side.ts';
import { requestOf } from './answers.ts';
import type { TaskPrompt } from './ask.ts';
import type { Machine, TimesLine } from './record.ts';
import type { Way } from './ways.ts';

export interface TimedTask {
  readonly set: string;
  readonly task: string;
  readonly prompt: TaskPrompt;
}

/** Longer answers do not measure speed better. */
export const mostTimedTokens = 128;

/** This machine with the threads that were asked for, and the device in use now: the CPU once it has taken over from another. */
export const machineOf = ({ placement: { share, name }, options: { threads } }: Running): Machine => ({
  processor: cpus()[0]?.model.trim() ?? '',
  device: share === null ? 'cpu' : name,
  ...(threads !== undefined && { threads }),
});

/**
 * Yields a line for each task. The model is cut only if a way uses an exit, since a cut costs time. The first task is written twice, and
 * only the second time counts; so is one in which the CPU takes over.
 */
export async function* timeWays(
  on: { readonly model: Model; readonly exits: ExitSet; readonly running: Running },
  ways: readonly Way[],
  tasks: readonly TimedTask[],
  signal: AbortSignal,
): AsyncGenerator<TimesLine, void> {
  const opened = new Map<string, StagedModel>();
  const sessions: Session[] = [];
  try {
    const timed: { way: Way; session: Session }[] = [];
    for (const way of ways) {
      const exits = onlyExits(on.exits, way.uses);
      const key = exits.specs.map(exitId).join();
      if (!opened.has(key))
        opened.set(key, await placeStagedModel(on.running.placement, on.model, exits, on.running.options));
      const session = openSession(opened.get(key)!);
      sessions.push(session);
      timed.push({ way, session });
    }
    const write = async ({ prompt }: TimedTask): Promise<Timed[]> => {
      const short = { ...prompt, maxTokens: Math.min(prompt.maxTokens, mostTimedTokens) };
      const isCancelled = (): boolean => signal.aborted;
      const writing = timed.map(({ way, session }) => session.write([requestOf(short, { ...way.how, isCancelled })]));
      const times = await timeSideBySide(writing, signal);
      signal.throwIfAborted();
      return times;
    };
    for (const one of tasks.slice(0, 1)) await write(one);
    for (const one of tasks) {
      const { device } = machineOf(on.running);
      let times = await write(one);
      if (machineOf(on.running).device !== device) times = await write(one);
      const { set, task } = one;
      const took = Object.fromEntries(ways.map(({ name }, w) => [name, times[w]!]));
      yield { set, task, ...machineOf(on.running), ways: took };
    }
  } finally {
    for (const session of sessions) session.dispose();
    for (const staged of opened.values()) await staged.dispose();
  }
}
