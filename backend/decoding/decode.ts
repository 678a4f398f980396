/**
 * Early-exit decoding of a batch, as a generator of records. Three ways with one loop: at full depth; `fast`, where every
 * token leaves at the first exit that is sure enough; lossless, where drafts are verified by the final exit in one pass.
 * What a token skipped enters the deeper stages later (kv-cache.ts).
 */
import { plural } from '../../protocol/plural.ts';
import { userError } from '../../protocol/errors.ts';
import type { StopReason, TokenRecord } from '../../protocol/trace.ts';
import type { StagedModel } from '../runtime/staged-model.ts';
import type { Block } from './block.ts';
import { choose } from './choose.ts';
import { draft } from './draft.ts';
import { Cancelled, openKvCache, takeBack, type KvCache } from './kv-cache.ts';
import { newPace, type Pace } from './pace.ts';
import { finishText, newSequence, write, type SequenceOptions } from './sequence.ts';

export interface DecodeRequest extends SequenceOptions {
  /** One sequence each; none empty. */
  readonly prompts: readonly (readonly number[])[];
}

export type DecodeEvent =
  | { readonly type: 'prompt'; readonly tokens: number; readonly seconds: number }
  | { readonly type: 'token'; readonly token: TokenRecord }
  | { readonly type: 'stop'; readonly sequence: number; readonly reason: StopReason };

/** What one decoding leaves for the next of the same model. */
export interface DecodeMemory {
  /** What was learned of this machine. */
  readonly pace: Pace;
  /** The cache of the last text that was alone, and its tokens: a prompt that begins like it is not computed again. */
  text: { readonly cache: KvCache; readonly ids: readonly number[] } | null;
}

export const newMemory = (model: StagedModel): DecodeMemory => ({ pace: newPace(model), text: null });

/**
 * @throws UserError for an empty prompt or one longer than the model's context.
 */
export async function* decode(
  model: StagedModel,
  request: DecodeRequest,
  memory: DecodeMemory = newMemory(model),
): AsyncGenerator<DecodeEvent> {
  checkPrompts(model, request.prompts);
  const started = performance.now();
  const { cache, fresh } = cacheFor(model, request.prompts, memory);
  try {
    for (const [row, ids] of fresh.entries()) cache.enter(row, ids);
    yield* writeAll(model, request, memory, cache, started);
  } finally {
    // Where nobody listens to the end, too.
    if (memory.text?.cache !== cache) cache.dispose();
  }
}

async function* writeAll(
  model: StagedModel,
  request: DecodeRequest,
  memory: DecodeMemory,
  cache: KvCache,
  started: number,
): AsyncGenerator<DecodeEvent> {
  const { prompts } = request;
  const { pace } = memory;
  let sequences = prompts.map((prompt, i) => newSequence(i, prompt, request));
  const isAlone = prompts.length === 1;
  const text = isAlone ? [...prompts[0]!] : [];
  let blocks: readonly Block[] = prompts.map(() => ({ drafts: [] }));

  const isOver = (): boolean => sequences.every(({ options }) => options.isCancelled?.() ?? false);
  let drafting = started;
  for (let step = 0; sequences.length > 0; step++) {
    const choices = await choose(model, cache, pace, sequences, blocks, isOver).catch((error: unknown) => {
      if (error instanceof Cancelled) return null;
      throw error;
    });
    if (choices === null) {
      for (const sequence of sequences) {
        for (const token of finishText(sequence)) yield { type: 'token', token };
        yield { type: 'stop', sequence: sequence.number, reason: 'cancelled' };
      }
      break;
    }
    const decided = choices.reduce((sum, row) => sum + row.length, 0);
    if (step > 0) pace.decided(decided, performance.now() - drafting);
    if (step === 0) {
      const tokens = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
      yield { type: 'prompt', tokens, seconds: (performance.now() - started) / 1000 };
    }
    const next = new Map<number, number>();
    if (isAlone) for (const { token } of choices[0]!) text.push(token);
    for (const [row, sequence] of sequences.entries()) {
      takeBack(cache, row, blocks[row]!, choices[row]!.length);
      const { records, reason } = write(sequence, choices[row]!, model.spec.contextLength);
      for (const token of records) yield { type: 'token', token };
      if (reason === null) next.set(row, choices[row]!.at(-1)!.token);
      else yield { type: 'stop', sequence: sequence.number, reason };
    }
    const kept = [...next.keys()];
    if (kept.length > 0) cache.keep(kept);
    sequences = kept.map((row) => sequences[row]!);
    for (const [row, token] of [...next.values()].entries()) cache.enter(row, [token]);
    drafting = performance.now();
    blocks = await draft(model, cache, pace, sequences);
  }
  if (isAlone) memory.text = { cache, ids: text.slice(0, cache.position(0)) };
}

/** A cache for the prompts, and what of each is to enter it: of a text that memory still has, only what is new. */
function cacheFor(
  model: StagedModel,
  prompts: readonly (readonly number[])[],
  memory: DecodeMemory,
): { cache: KvCache; fresh: readonly (readonly number[])[] } {
  const known = memory.text;
  memory.text = null;
  if (known && prompts.length === 1) {
    const prompt = prompts[0]!;
    let common = 0;
    while (common < prompt.length - 1 && common < known.ids.length && prompt[common] === known.ids[common]) common++;
    known.cache.truncate(0, common);
    return { cache: known.cache, fresh: [prompt.slice(common)] };
  }
  known?.cache.dispose();
  return { cache: openKvCache(model, prompts.length, (...pass) => memory.pace.measured(...pass)), fresh: prompts };
}

function checkPrompts(model: StagedModel, prompts: readonly (readonly number[])[]): void {
  for (const [i, prompt] of prompts.entries())
    checkPrompt(prompt, model.spec.contextLength, prompts.length === 1 ? 'The prompt' : `Prompt ${i + 1}`);
}

/** @throws UserError for a prompt that is empty or leaves no room for a token in so many. */
export function checkPrompt(prompt: readonly number[], contextLength: number, name = 'The prompt'): void {
  if (prompt.length === 0) throw userError('bad-argument', `${name} is empty.`, 'Give at least one token of text.');
  if (prompt.length >= contextLength) {
    const sizes = `${plural(prompt.length, 'token')}, but the model sees ${contextLength}`;
    throw userError('bad-argument', `${name} has ${sizes}.`, 'Shorten it.');
  }
}
