/** Times each way on the same tasks, one text at a time and in turn, so that other programs on the machine affect all ways alike. */
import { onlyExits, type ExitSet } from '../../runtime/open.ts';
import type { StagedModel } from '../../runtime/staged-model.ts';
import { placeStagedModel, type Running } from '../../devices/fallback.ts';
import { exitId } from '../../exits/spec.ts';
import type { Model } from '../../model/open.ts';
import { openSession, type Session } from '../../decoding/session.ts';
import { requestOf } from './answers.ts';
import type { TaskPrompt } from './ask.ts';
import type { TimesLine } from './record.ts';
import type { Timed } from './statistics.ts';
import type { Way } from './ways.ts';

export interface TimedTask {
  readonly set: string;
  readonly task: string;
  readonly prompt: TaskPrompt;
}

/** Longer answers do not measure speed better. */
export const mostTimedTokens = 128;

/**
 * Yields a line for each task. The model is cut only if a way uses an exit, since a cut costs time. The first task is written twice, and
 * only the second time counts.
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
    for (const [i, { set, task, prompt }] of [...tasks.slice(0, 1), ...tasks].entries()) {
      const line: Record<string, Timed> = {};
      for (const { way, session } of i % 2 === 0 ? timed : timed.toReversed()) {
        line[way.name] = await timeOne(session, prompt, way, () => signal.aborted);
        signal.throwIfAborted();
      }
      if (i > 0) yield { set, task, ways: line };
    }
  } finally {
    for (const session of sessions) session.dispose();
    for (const staged of opened.values()) await staged.dispose();
  }
}

/** Seconds after the prompt, and the tokens written in them; the first token is a result of the prompt's pass. */
async function timeOne(session: Session, prompt: TaskPrompt, way: Way, isCancelled: () => boolean): Promise<Timed> {
  const request = requestOf(
    { ...prompt, maxTokens: Math.min(prompt.maxTokens, mostTimedTokens) },
    { ...way.how, isCancelled },
  );
  let [began, tokens] = [performance.now(), 0];
  for await (const event of session.write([request])) {
    if (event.type === 'prompt') began = performance.now();
    if (event.type === 'tokens') tokens += event.tokens.length;
  }
  return { seconds: (performance.now() - began) / 1000, tokens };
}
