/**
 * Drafts for a lossless decoding: what the text itself suggests, else what an exit says when it runs ahead of the stages
 * behind it. How many is a matter of cost: a draft is worth it while the chance that all of them are right pays for its
 * place in the pass.
 */
import type { StagedModel } from '../runtime/staged-model.ts';
import type { Block, Draft } from './choose.ts';
import type { KvCache } from './kv-cache.ts';
import type { Pace } from './pace.ts';
import type { Sequence } from './sequence.ts';

export interface DraftOptions {
  readonly lookup: boolean;
  /** Exits that may draft, by id. */
  readonly exits: (exit: string) => boolean;
  /** Most drafts in a block. */
  readonly limit: number;
}

/** Makes a block of every row and enters its drafts; the row's newest token is in the cache already. */
export async function draft(
  model: StagedModel,
  cache: KvCache,
  pace: Pace,
  options: DraftOptions,
  sequences: readonly Sequence[],
): Promise<Block[]> {
  const blocks = sequences.map((sequence, row) => ({
    drafts: fromText(model, cache, pace, options, sequence, row, sequences.length),
  }));
  for (const [row, { drafts }] of blocks.entries())
    if (drafts.length)
      cache.enter(
        row,
        drafts.map(({ token }) => token),
      );
  // An exit drafts token by token: in a batch every row would wait for every other.
  const alone = blocks.length === 1 ? blocks[0]! : null;
  if (alone?.drafts.length === 0) alone.drafts = await fromExits(model, cache, pace, options, 0);
  return blocks;
}

function fromText(
  model: StagedModel,
  cache: KvCache,
  pace: Pace,
  options: DraftOptions,
  sequence: Sequence,
  row: number,
  rows: number,
): Draft[] {
  if (!sequence.lookup) return [];
  const limit = Math.min(options.limit, model.spec.contextLength - cache.position(row) - 1);
  const { tokens, matched } = sequence.lookup.propose(Math.max(0, limit));
  const all = model.stages.length;
  const alone = pace.stages(0, all, rows);
  const drafts: Draft[] = [];
  let chance = 1;
  for (const [n, token] of tokens.entries()) {
    const kind = `lookup/${matched}/${Math.min(n, 3)}`;
    chance *= pace.acceptance(kind);
    const more = pace.stages(0, all, rows * (n + 2)) - pace.stages(0, all, rows * (n + 1));
    if (pace.gain(chance, alone / rows, more / rows) <= 0) break;
    drafts.push({ token, source: 'lookup', kind });
  }
  return drafts;
}

/** Runs the stages below the exit that promises most, token after token, while it is likely to be right. */
async function fromExits(
  model: StagedModel,
  cache: KvCache,
  pace: Pace,
  options: DraftOptions,
  row: number,
): Promise<Draft[]> {
  const k = bestDrafter(model, pace, options);
  const room = model.spec.contextLength - cache.position(row) - 1;
  const drafts: Draft[] = [];
  if (k === null) return drafts;
  const exit = model.exits[k]!;
  let chance = 1;
  while (drafts.length < Math.min(options.limit, room)) {
    await cache.advance(exit.stages, [row]);
    const [result] = await cache.read(k, [row], [1], { logits: false });
    const readout = result!.readouts[0]!;
    const kind = `${exit.id}/${confidenceBin(readout.confidence)}`;
    chance *= pace.acceptance(kind);
    if (readout.token < 0 || gainOf(model, pace, k, drafts.length + 1, chance) <= 0) break;
    drafts.push({ token: readout.token, source: exit.id, kind });
    cache.enter(row, [readout.token]);
  }
  return drafts;
}

/** Expected milliseconds that one more draft of exit k, the nth, saves. */
function gainOf(model: StagedModel, pace: Pace, k: number, n: number, chance: number): number {
  const all = model.stages.length;
  const after = model.exits[k]!.stages;
  const verified = pace.stages(after, all, n + 1) - pace.stages(after, all, n);
  const spent = pace.stages(0, after, 1) + pace.reading(k, 1) + verified;
  return pace.gain(chance, pace.stages(0, all, 1), spent);
}

/** The exit with the best expected gain of a first draft; null where none pays. */
function bestDrafter(model: StagedModel, pace: Pace, options: DraftOptions): number | null {
  let best: number | null = null;
  let bestGain = 0;
  for (const [k, exit] of model.exits.entries()) {
    if (exit.spec === null || exit.slots.length > 0 || !options.exits(exit.id)) continue;
    const gain = gainOf(model, pace, k, 1, pace.acceptance(`${exit.id}/${confidenceBin(1)}`));
    if (gain > bestGain) [best, bestGain] = [k, gain];
  }
  return best;
}

const confidenceBin = (confidence: number): number => Math.min(9, Math.floor(confidence * 10));
