/**
 * Finds the exits at which prompts may stop: how much their continuations lose. A window of held-out text is read in full, and once more
 * with its beginning stopped at an exit; the full model then scores what it would write in the second case. These windows are used for
 * nothing else.
 */
import { setImmediate } from 'node:timers/promises';
import type { CalibrateEvent } from '../../protocol/events.ts';
import { openKvCache } from '../decoding/kv-cache.ts';
import { stoppingAt } from '../decoding/prompt-exit.ts';
import { regretOf } from '../decoding/regret.ts';
import type { Windows } from '../features/features.ts';
import type { Readout, StagedModel } from '../runtime/staged-model.ts';
import { mean } from './tasks/statistics.ts';

/** Nats that a token after such a prompt may lose. */
export const promptRegret = 0.02;
/** Share of a window that is the continuation, not the prompt. */
const followingShare = 1 / 4;
const mostWindows = 8;
const fewestWindows = 4;
/** Windows after which a layer that surely loses more is given up. */
const hopelessWindows = 2;
/** Of a normal distribution, one-sided: in 19 of 20 cases the mean is below. */
const certain = 1.645;

/** The shallowest layer at which prompts may stop; null if they may stop at none, or if there is too little text or time to decide. */
export async function* judgePrompts(
  staged: StagedModel,
  windows: Windows,
  hasTime: (seconds: number) => boolean,
  signal: AbortSignal,
): AsyncGenerator<CalibrateEvent, number | null> {
  const layers = [...new Set(staged.exits.filter(({ remembers }) => remembers).map(({ layer }) => layer))];
  const following = Math.floor(windows.tokens * followingShare);
  if (layers.length === 0 || stoppingAt(staged, layers[0], windows.tokens - following) === null) return null;
  const count = Math.min(mostWindows, windows.count);
  // The deepest first: if that loses too much, so do the layers before it.
  const regrets = new Map(layers.sort((a, b) => b - a).map((layer) => [layer, [] as number[]]));
  yield { type: 'phase', phase: 'evaluate', detail: 'what follows prompts that stop at an exit' };
  let longest = 0;
  // From the end: beginnings of texts come from the first ones.
  for (let w = windows.count - 1; w >= windows.count - count && regrets.size > 0 && hasTime(longest); w--) {
    const started = performance.now();
    const ids = [...windows.window(w).ids];
    const whole = await readoutsBehind(staged, ids, following, null);
    for (const [layer, means] of [...regrets]) {
      if (!regrets.has(layer)) continue;
      means.push(mean(regretsBetween(whole, await readoutsBehind(staged, ids, following, layer))));
      if (means.length < hopelessWindows || atLeast(means) <= promptRegret) continue;
      for (const other of regrets.keys()) if (other <= layer) regrets.delete(other);
    }
    longest = Math.max(longest, (performance.now() - started) / 1000);
    yield { type: 'progress', phase: 'evaluate', done: windows.count - w, total: count, unit: 'windows' };
    await setImmediate();
    signal.throwIfAborted();
  }
  const allowed = [...regrets].filter(([, means]) => means.length >= fewestWindows && atMost(means) <= promptRegret);
  return allowed.length === 0 ? null : Math.min(...allowed.map(([layer]) => layer));
}

/**
 * The final exit's readouts for the last tokens of a text; the tokens before them are a prompt that stops at `layer`, if that is not null.
 */
export async function readoutsBehind(
  staged: StagedModel,
  ids: readonly number[],
  following: number,
  layer: number | null,
): Promise<readonly Readout[]> {
  const cache = openKvCache(staged, 1);
  try {
    cache.enter(0, ids);
    await cache.fill(0, [], ids.length, { stopping: stoppingAt(staged, layer, ids.length - following) });
    const [result] = await cache.read(staged.exits.length - 1, [0], [following], { logits: false });
    return result!.readouts;
  } finally {
    cache.dispose();
  }
}

/** For each token that `other` predicts: its regret under the full model. */
export const regretsBetween = (full: readonly Readout[], other: readonly Readout[]): number[] =>
  full.map((readout, i) => regretOf(readout, other[i]!.token));

/** What the mean is at most, and at least, by the spread of these. */
const atMost = (values: readonly number[]): number => mean(values) + certain * errorOf(values);
const atLeast = (values: readonly number[]): number => mean(values) - certain * errorOf(values);

function errorOf(values: readonly number[]): number {
  const middle = mean(values);
  const variance = values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1);
  return Math.sqrt(variance / values.length);
}
