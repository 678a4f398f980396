/**
 * Finds the exits at which prompts may stop: how much their continuations lose. A window of held-out text is read in full, and once more
 * with its beginning stopped at an exit; the full model then scores what it would write in the second case. Thresholds have no part in it,
 * so that they may be chosen on the same windows.
 */
import { setImmediate } from 'node:timers/promises';
import type { CalibrateEvent } from '../../../protocol/events.ts';
import { openKvCache, type KvCache } from '../../decoding/cache/kv-cache.ts';
import { stoppingAt } from '../../decoding/prompts/prompt-exit.ts';
import { regretsAt } from '../../decoding/prompts/regret.ts';
import type { Windows } from '../../features/features.ts';
import type { Readout, StagedModel } from '../../runtime/staged-model.ts';
import { mean } from '../tasks/statistics.ts';

/** Nats that a token after such a prompt may lose. */
export const promptRegret = 0.02;
/** Share of a window that is the continuation, not the prompt. */
const followingShare = 1 / 4;
const mostWindows = 8;
const fewestWindows = 4;
/** Windows after which a layer that surely loses too much is given up. */
const hopelessWindows = 2;
/** Standard errors by the number of windows, after Student: in 19 of 20 cases the mean is below. */
const certain: Readonly<Record<number, number>> = { 4: 2.35, 5: 2.13, 6: 2.02, 7: 1.94, 8: 1.89 };
/** Standard errors beyond which further windows are not read: of four windows, in 39 of 40 cases the mean is below. */
const clear = 3.2;
/** Standard errors by which a layer loses too much to be read on; they never allow a layer. */
const hopelessErrors = 1.645;

/** Windows that decide on a layer on average, and how often each is read: whole, stopped, and at the places behind the prompt. */
const [usualWindows, readings] = [3.5, 2.2];

/** Seconds in which prompts are judged, if a token of a prompt takes `ofPrompt` seconds. */
export const promptSeconds = (staged: StagedModel, windows: Windows, ofPrompt: number): number =>
  layersOf(staged).length * Math.min(usualWindows, windows.count) * windowSeconds(windows, ofPrompt);

const windowSeconds = ({ tokens }: Windows, ofPrompt: number): number => readings * tokens * ofPrompt;

/** The layers of the exits that remember, shallow ones first. */
const layersOf = ({ exits }: StagedModel): readonly number[] =>
  [...new Set(exits.filter(({ remembers }) => remembers).map(({ layer }) => layer))].sort((a, b) => a - b);

/**
 * The shallowest layer at which prompts may stop; null if they may stop at none, or if there is too little text or time to decide.
 * `ofPrompt`: seconds of a token of a prompt.
 */
export async function* judgePrompts(
  staged: StagedModel,
  windows: Windows,
  ofPrompt: number,
  hasTime: (seconds: number) => boolean,
  signal: AbortSignal,
): AsyncGenerator<CalibrateEvent, number | null> {
  const following = Math.floor(windows.tokens * followingShare);
  const texts = textsOf(windows, following);
  let longest = windowSeconds(windows, ofPrompt);
  const hasTimeAfter = (read: number): boolean => hasTime(Math.max(1, fewestWindows - read) * longest);
  for (const layer of layersOf(staged)) {
    if (stoppingAt(staged, layer, windows.tokens - following) === null || !hasTimeAfter(0)) return null;
    yield { type: 'phase', phase: 'evaluate', detail: `what follows prompts that stop at layer ${layer}` };
    const means: number[] = [];
    while (means.length < texts.length && !isSettled(means)) {
      if (!hasTimeAfter(means.length)) return isAllowed(means) ? layer : null;
      const started = performance.now();
      const { ids, counts } = texts[means.length]!;
      for await (const { regrets } of regretsBehind(staged, ids, following, [layer]))
        means.push(mean(regrets.filter((_, place) => counts[place])));
      longest = Math.max(longest, (performance.now() - started) / 1000);
      yield {
        type: 'progress',
        phase: 'evaluate',
        done: isSettled(means) ? texts.length : means.length,
        total: texts.length,
        unit: 'windows',
      };
      await setImmediate();
      signal.throwIfAborted();
    }
    if (isAllowed(means)) return layer;
  }
  return null;
}

/** A window's tokens, and which of the last ones count: those with something to be learned, not filler. */
interface PromptText {
  readonly ids: readonly number[];
  readonly counts: readonly boolean[];
}

/** The last windows with something to be learned at their last `following` places, the last one first. */
function textsOf(windows: Windows, following: number): PromptText[] {
  const texts: PromptText[] = [];
  for (let i = windows.count - 1; i >= 0 && texts.length < mostWindows; i--) {
    const { ids, targets } = windows.window(i);
    const counts = [...targets.subarray(windows.tokens - following)].map((target) => target >= 0);
    if (counts.includes(true)) texts.push({ ids: [...ids], counts });
  }
  return texts;
}

/** Whether a layer surely loses too much, or does so on average of the fewest windows that could allow it. */
const isHopeless = (means: readonly number[]): boolean =>
  (means.length >= hopelessWindows && mean(means) - hopelessErrors * errorOf(means) > promptRegret) ||
  (means.length >= fewestWindows && mean(means) > promptRegret);

/** Whether prompts may stop at a layer, from the mean regret behind each window, in nats a token; 4 to 8 windows decide. */
export const isAllowed = (means: readonly number[], errors = certain[means.length]!): boolean =>
  means.length >= fewestWindows && mean(means) + errors * errorOf(means) <= promptRegret;

/** Whether further windows would hardly change what is decided of a layer. */
const isSettled = (means: readonly number[]): boolean => isHopeless(means) || isAllowed(means, clear);

/**
 * The regrets, under the full model, of what would be written at the last `following` places of a text, each token by itself, if the prompt
 * before them stops at each of these layers, at none if that is null.
 */
export async function* regretsBehind<Layer extends number | null>(
  staged: StagedModel,
  ids: readonly number[],
  following: number,
  layers: Iterable<Layer>,
): AsyncGenerator<{ readonly layer: Layer; readonly regrets: readonly number[] }> {
  const readouts = async (cache: KvCache): Promise<readonly Readout[]> =>
    (await cache.read(staged.exits.length - 1, [0], [following], { logits: false }))[0]!.readouts;
  const whole = await readText(staged, ids, following, null);
  try {
    const full = await readouts(whole);
    for (const layer of layers) {
      const stopped = await readText(staged, ids, following, layer);
      try {
        const tokens = (await readouts(stopped)).map(({ token }) => token);
        yield { layer, regrets: await regretsAt(staged, whole, { row: 0, end: ids.length }, full, tokens) };
      } finally {
        stopped.dispose();
      }
    }
  } finally {
    whole.dispose();
  }
}

/** A text whose prompt, all but the last `following` tokens, stops at `layer`, if that is not null. */
async function readText(
  staged: StagedModel,
  ids: readonly number[],
  following: number,
  layer: number | null,
): Promise<KvCache> {
  const cache = openKvCache(staged, 1);
  try {
    cache.enter(0, ids);
    await cache.runThrough(0, [], ids.length, { stopping: stoppingAt(staged, layer, ids.length - following) });
    return cache;
  } catch (error) {
    cache.dispose();
    throw error;
  }
}

/** The standard error of their mean. */
function errorOf(values: readonly number[]): number {
  const middle = mean(values);
  const variance = values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1);
  return Math.sqrt(variance / values.length);
}
