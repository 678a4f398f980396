/** Whether thresholds pay, by the clock: a calibration is tried out before it is stored, beside what drafts bring. */
import { setImmediate } from 'node:timers/promises';
import { parseOptions } from '../../protocol/options.ts';
import type { Tokenizer } from '../data/tokenizer.ts';
import { decode, newMemory, type DecodeMemory, type DecodeRequest } from '../decoding/decode.ts';
import { textDrafts } from '../decoding/draft.ts';
import type { Gate } from '../decoding/gate.ts';
import type { Policy } from '../decoding/policy.ts';
import { greedy } from '../decoding/sampler.ts';
import type { Model } from '../model/open.ts';
import { placeStagedModel } from '../devices/fallback.ts';
import { noExits, onlyExits, type ExitSet } from '../runtime/open.ts';
import type { StagedModel } from '../runtime/staged-model.ts';
import type { Calibration } from '../checkpoint/checkpoint.ts';
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

/** Which exits a token may leave at, and how. */
export interface Candidate {
  readonly thresholds: Calibration['thresholds'];
  readonly gates: ReadonlyMap<string, Gate>;
}

/** Time at full depth, a token a pass, ÷ that of other ways. */
export interface Trial {
  /** The mode `lossless` with drafts of the text alone. */
  readonly lossless: number;
  /** Each candidate's exits alone, and the mode `fast` as it is by default, with drafts of the text. */
  readonly leaving: readonly { readonly exits: number; readonly fast: number }[];
}

interface Way {
  readonly staged: StagedModel;
  readonly memory: DecodeMemory;
  readonly different: Partial<DecodeRequest>;
  milliseconds: number;
}

/**
 * Measures ways of decoding in turn, after a first text that does not count. The costs of parts that chose the thresholds
 * leave out what a cut costs by itself: the model at full depth is not cut here, the others only where they ask.
 * @throws the signal's reason where it was aborted.
 */
export async function tryOut(
  model: Model,
  held: ExitSet,
  { placement, options }: Running,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  candidates: readonly Candidate[],
  signal: AbortSignal,
): Promise<Trial> {
  const drafts = textDrafts(parseOptions('generate', {}).drafts);
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
    const leaving: { exits: Way; fast: Way }[] = [];
    for (const { thresholds, gates } of candidates) {
      const isAsked = (exit: string): boolean => exit in thresholds;
      const cut = await open(onlyExits(held, isAsked));
      const policy: Policy = { kind: 'confidence', threshold: (exit) => thresholds[exit] ?? 1 };
      const alone = { policy, enabled: isAsked, gates };
      leaving.push({ exits: way(cut, alone), fast: way(cut, { ...alone, drafts }) });
    }
    const ways = [full, lossless, ...leaving.flatMap(({ exits, fast }) => [exits, fast])];
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
    return {
      lossless: speedup(lossless),
      leaving: leaving.map(({ exits, fast }) => ({ exits: speedup(exits), fast: speedup(fast) })),
    };
  } finally {
    for (const staged of opened) await staged.dispose();
  }
}
