/** Whether thresholds pay, by the clock: a calibration is tried out before it is stored, beside what drafts bring. */
import { setImmediate } from 'node:timers/promises';
import { parseOptions } from '../../protocol/options.ts';
import type { Tokenizer } from '../data/tokenizer.ts';
import { decode, newMemory, type DecodeMemory, type DecodeRequest } from '../decoding/decode.ts';
import type { DraftOptions } from '../decoding/draft.ts';
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

/** Time at full depth, a token a pass, ÷ that of other ways. */
export interface Speedups {
  /** Exits alone. */
  readonly exits: number;
  /** The mode `fast` as it is by default: exits, and drafts of the text. */
  readonly fast: number;
  /** The mode `lossless` with drafts of the text alone. */
  readonly lossless: number;
}

interface Way {
  readonly staged: StagedModel;
  readonly memory: DecodeMemory;
  readonly different: Partial<DecodeRequest>;
  milliseconds: number;
}

const drafts: DraftOptions = { lookup: true, exits: () => false, limit: parseOptions('generate', {}).drafts };

/**
 * Measures ways of decoding in turn, after a first text that does not count. The costs of parts that chose the thresholds
 * leave out what a cut costs by itself: the model at full depth is not cut here, the other only where it is asked.
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
): Promise<Speedups> {
  const isAsked = (exit: string): boolean => exit in thresholds;
  const leaving: Partial<DecodeRequest> = {
    policy: { kind: 'confidence', threshold: (exit) => thresholds[exit] ?? 1 },
    enabled: isAsked,
    gates,
  };
  const opened: StagedModel[] = [];
  const open = async (exits: ExitSet): Promise<StagedModel> => {
    const staged = await placeStagedModel(placement, model, exits, options);
    opened.push(staged);
    return staged;
  };
  const way = (staged: StagedModel, different: Partial<DecodeRequest>): Way => ({
    staged,
    memory: newMemory(staged),
    different,
    milliseconds: 0,
  });
  try {
    const plain = await open(noExits);
    const [full, lossless] = [way(plain, {}), way(plain, { drafts })];
    const cut = Object.keys(thresholds).length ? await open(onlyExits(held, isAsked)) : null;
    const exits = cut && way(cut, leaving);
    const fast = cut && way(cut, { ...leaving, drafts });
    const ways = [full, exits, lossless, fast].filter((one) => one !== null);
    for (const [i, prompt] of prompts.slice(0, 1 + texts).entries()) {
      for (const one of i % 2 ? ways : ways.toReversed()) {
        let began = 0;
        const request = { ...fullDepth(tokenizer, [prompt], newTokens), ...one.different };
        for await (const event of decode(one.staged, request, one.memory))
          if (event.type === 'prompt') began = performance.now();
        if (i > 0) one.milliseconds += performance.now() - began;
        await setImmediate(); // let a cancellation in
        signal.throwIfAborted();
      }
    }
    const speedup = (one: Way): number => full.milliseconds / one.milliseconds;
    return { exits: speedup(exits ?? full), fast: speedup(fast ?? lossless), lossless: speedup(lossless) };
  } finally {
    for (const staged of opened) await staged.dispose();
  }
}
