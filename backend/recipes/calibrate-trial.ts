/** Whether thresholds pay, by the clock: a calibration is tried out before it is stored. */
import { setImmediate } from 'node:timers/promises';
import type { Tokenizer } from '../data/tokenizer.ts';
import { decode, type DecodeRequest } from '../decoding/decode.ts';
import type { Gate } from '../decoding/gate.ts';
import { greedy } from '../decoding/sampler.ts';
import type { Model } from '../model/open.ts';
import { placeStagedModel } from '../runtime/devices-fallback.ts';
import { noExits, onlyExits, type ExitSet } from '../runtime/open.ts';
import type { StagedModel } from '../runtime/staged-model.ts';
import type { Calibration } from '../tuning/checkpoint.ts';
import type { Running } from './backbone.ts';

/** What a trial must bring to be more than chance. */
export const leastSpeedup = 1.02;

const texts = 16;
const newTokens = 64;

/** Greedy decoding of these prompts through all layers, without drafts. */
export const fullDepth = (
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  maxTokens: number,
): DecodeRequest => ({
  prompts,
  maxTokens,
  policy: { kind: 'confidence', threshold: () => 1 },
  enabled: () => false,
  gates: new Map(),
  sampling: greedy,
  seed: 0,
  endOfText: tokenizer.eosIds,
  stopStrings: [],
  candidates: 0,
  drafts: null,
  codec: tokenizer,
});

/**
 * Time at full depth ÷ with these thresholds, in turn, after a first text that does not count. The costs of parts that chose
 * them leave out what a cut costs by itself: the model at full depth is not cut here, the other only where it is asked.
 * @throws the signal's reason where it was aborted.
 */
export async function tryOut(
  model: Model,
  held: ExitSet,
  { placement, options }: Running,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  thresholds: Calibration['thresholds'],
  gates: ReadonlyMap<string, Gate>,
  signal: AbortSignal,
): Promise<number> {
  if (Object.keys(thresholds).length === 0) return 1;
  const isAsked = (exit: string): boolean => exit in thresholds;
  const leaving: Partial<DecodeRequest> = {
    policy: { kind: 'confidence', threshold: (exit) => thresholds[exit] ?? 1 },
    enabled: isAsked,
    gates,
  };
  const ways: { staged: StagedModel; different: Partial<DecodeRequest>; milliseconds: number }[] = [];
  try {
    for (const [exits, different] of [
      [noExits, {}],
      [onlyExits(held, isAsked), leaving],
    ] as const)
      ways.push({ staged: await placeStagedModel(placement, model, exits, options), different, milliseconds: 0 });
    for (const [i, prompt] of prompts.slice(0, 1 + texts).entries()) {
      for (const way of i % 2 ? ways : ways.toReversed()) {
        let began = 0;
        for await (const event of decode(way.staged, {
          ...fullDepth(tokenizer, [prompt], newTokens),
          ...way.different,
        }))
          if (event.type === 'prompt') began = performance.now();
        if (i > 0) way.milliseconds += performance.now() - began;
        await setImmediate(); // let a cancellation in
        signal.throwIfAborted();
      }
    }
    return ways[0]!.milliseconds / ways[1]!.milliseconds;
  } finally {
    for (const { staged } of ways) await staged.dispose();
  }
}
