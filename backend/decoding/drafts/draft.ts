/**
 * Drafts: from the text itself, or, in lossless decoding, from an exit that runs ahead of the stages behind it. Their number follows from
 * cost: their chances to be accepted, against their places in the pass.
 */
import type { Allowed } from '../../data/prompts/allowed.ts';
import { longerThan, type ModelSpec } from '../../model/spec.ts';
import { branchOf, trunkLength, type StagedModel } from '../../runtime/staged-model.ts';
import { textSource, type Choice, type Draft, type DraftOptions } from '../block.ts';
import type { KvCache } from '../cache/kv-cache.ts';
import type { Guess } from '../../data/lookup.ts';
import type { Pace } from './pace.ts';
import { lag } from '../leaving/probation.ts';
import type { Sequence } from '../sequence.ts';
import { isHeadRead } from '../leaving/trust.ts';

/** Most drafts in a block of a text: what is decided of a token on probation reaches back beyond its block. */
const limitOf = ({ probation }: Sequence, { limit }: DraftOptions): number =>
  probation === null ? limit : Math.min(limit, lag);

/** Drafts from the text alone, none from exits. */
export const textDrafts = (limit: number): DraftOptions => ({ lookup: true, exits: () => false, limit });

/**
 * Drafts for each row, and enters them behind the row's newest token, which is in the cache already; none of a text that does not draft.
 * `lengths`: most tokens of each text, prompt included.
 */
export async function draft(
  model: StagedModel,
  cache: KvCache,
  pace: Pace,
  sequences: readonly Sequence[],
  lengths: readonly number[],
): Promise<(readonly Draft[])[]> {
  const rows = sequences.length;
  if (sequences.every(({ options }) => options.drafts === null)) return sequences.map(() => []);
  const isUsed = (exit: string): boolean => sequences.some(({ options }) => isHeadRead(options, exit));
  const cost = (tokens: number): number => blockCost(model, pace, isUsed, tokens);
  // What the text foretells leaves early by itself where hints are trusted.
  const trusts = sequences.some(({ options }) => options.trust?.size);
  const saved = (): number => Math.min(pace.perToken(cost(rows) / rows), trusts ? pace.perForetold() : Infinity);
  const room = (row: number): number =>
    Math.min(roomOf(model.spec, lengths[row]!, cache.position(row)), roomIn(sequences[row]!));
  const proposals = sequences.map((sequence, row) => fromText(model.spec, pace, sequence, room(row)));
  const isIdle = proposals.every((drafts) => drafts.length === 0);
  const length = isIdle ? 0 : worthwhile(pace, proposals, (n) => cost(rows * (n + 1)), saved());
  const chosen: (readonly Draft[])[] = proposals.map((drafts) => drafts.slice(0, length).map(({ draft }) => draft));
  // One by one: many that come at once are computed by other kernels than single tokens.
  for (const [row, drafts] of chosen.entries()) for (const { token } of drafts) cache.enter(row, [token]);
  // An exit drafts token by token: in a batch every row would wait for every other.
  const [first] = sequences;
  const options = first!.begun ? null : first!.options.drafts;
  if (rows === 1 && chosen[0]!.length === 0 && options)
    chosen[0] = await fromExits(model, cache, pace, first!, options, room(0), saved);
  return chosen;
}

/** Most drafts that fit: within the text's length and the context, and not beyond the length from which on all tokens are rotated in another way. */
function roomOf(spec: ModelSpec, length: number, position: number): number {
  const beyond = longerThan(spec);
  const within = Math.min(spec.contextLength, length) - position - 1;
  return beyond !== null && position <= beyond ? Math.min(within, beyond - position) : within;
}

/** Most drafts of which a text needs the tokens: the one behind them is decided in the same pass. */
const roomIn = ({ options, count }: Sequence): number => options.maxTokens - count - 1;

/** A draft and the chance that it and all before it are right. */
export interface Proposal {
  readonly draft: Draft;
  readonly chance: number;
}

function fromText({ vocabulary }: ModelSpec, pace: Pace, sequence: Sequence, room: number): Proposal[] {
  const options = sequence.options.drafts;
  // The text begins with what was taken off the prompt, a token at a time.
  if (!sequence.lookup || !options || sequence.begun) return [];
  const limit = Math.min(limitOf(sequence, options), room);
  const guesses = sequence.lookup.propose(Math.max(0, limit));
  let chance = 1;
  return guesses.slice(0, allowedLength(vocabulary, sequence.allowed, guesses)).map((guess) => {
    chance *= pace.acceptance(kindOf(guess));
    return { draft: { token: guess.token, source: textSource, kind: null }, chance };
  });
}

/** The number of tokens before the first that is not allowed in its place. Other texts may have markers beyond the vocabulary. */
function allowedLength(vocabulary: number, allowed: Allowed | null, guesses: readonly Guess[]): number {
  let may = allowed;
  for (const [n, { token }] of guesses.entries()) {
    if (token >= vocabulary || may?.allows(token) === false) return n;
    may = may?.after(token) ?? null;
  }
  return guesses.length;
}

/**
 * Adds the decided tokens of a text to what hints and drafts come from, and records for each whether the text before it would have foretold it,
 * drafted or not. So the value of drafts is known without trying them. Returns how many were foretold.
 */
export function learn(pace: Pace, { lookup, hints }: Sequence, choices: readonly Choice[]): number {
  hints?.add(choices.map(({ token }) => token));
  if (lookup === null) return 0;
  let foretold = 0;
  for (const { token } of choices) {
    const [guess] = lookup.propose(1);
    if (guess) pace.judged(kindOf(guess), guess.token === token);
    if (guess?.token === token) foretold++;
    lookup.add([token]);
  }
  return foretold;
}

/** A class of drafts with similar chances: by the length of the match, and by whether all earlier places agree. */
function kindOf({ matched, votes, places }: Guess): string {
  const length = matchedSteps.findLast((step) => matched >= step);
  const voice = votes === places ? (places > 1 ? 'all' : 'one') : 2 * votes > places ? 'most' : 'some';
  return `${textSource}/${length}/${voice}`;
}

const matchedSteps = [2, 3, 4, 6, 9, 16];

/**
 * The number of drafts per row that pays most. Rows are padded to the longest one, so every row may have that many. Every number is tried,
 * since a second token in a pass can cost more than a third.
 */
export function worthwhile(
  pace: Pace,
  proposals: readonly (readonly Proposal[])[],
  cost: (drafts: number) => number,
  saved: number,
): number {
  let [best, bestGain, right] = [0, 0, 0];
  const without = cost(0);
  for (let n = 1; n <= Math.max(0, ...proposals.map((drafts) => drafts.length)); n++) {
    right += proposals.reduce((sum, drafts) => sum + (drafts[n - 1]?.chance ?? 0), 0);
    const gain = pace.gain(right, saved, cost(n) - without);
    if (gain > bestGain) [best, bestGain] = [n, gain];
  }
  return best;
}

/** Expected milliseconds of deciding `tokens` tokens in one pass. */
function blockCost(model: StagedModel, pace: Pace, isUsed: (exit: string) => boolean, tokens: number): number {
  const readings = model.exits.map(({ spec, id }, k) => (spec === null || isUsed(id) ? pace.reading(k, tokens) : 0));
  return readings.reduce((sum, one) => sum + one, pace.stages(0, trunkLength(model), tokens));
}

/**
 * Runs the stages below the exit that promises most, token after token, while it is likely to be right. For one row. `saved`: what a right
 * draft saves, in milliseconds.
 */
async function fromExits(
  model: StagedModel,
  cache: KvCache,
  pace: Pace,
  sequence: Sequence,
  options: DraftOptions,
  room: number,
  saved: () => number,
): Promise<Draft[]> {
  const k = bestDrafter(model, pace, options);
  const drafts: Draft[] = [];
  if (k === null) return drafts;
  const perToken = saved();
  const exit = model.exits[k]!;
  let chance = 1;
  let may = sequence.allowed;
  const most = Math.min(limitOf(sequence, options), room);
  while (drafts.length < most) {
    await cache.advance(exit.stages, [0]);
    const [result] = await cache.read(k, [0], [1], { logits: false });
    const readout = result!.readouts[0]!;
    const kind = `${exit.id}/${confidenceBin(readout.confidence)}`;
    chance *= pace.acceptance(kind);
    pace.drafters.spent(exit.id, pace.reading(k, 1) / perToken);
    const spent = costOf(model, pace, k, drafts.length + 1);
    const isAble = readout.token >= 0 && (may?.allows(readout.token) ?? true);
    if (!isAble || pace.gain(chance, perToken, spent) <= 0) break;
    pace.drafters.spent(exit.id, spent / perToken);
    drafts.push({ token: readout.token, source: exit.id, kind });
    cache.enter(0, [readout.token]);
    may = may?.after(readout.token) ?? null;
  }
  return drafts;
}

/** Expected milliseconds of the nth draft of exit k besides its readout: its pass below the exit, and its place in the final pass. */
function costOf(model: StagedModel, pace: Pace, k: number, n: number): number {
  const final = model.exits.length - 1;
  const after = model.exits[k]!.stages;
  const verifying = (tokens: number): number =>
    pace.stages(after, trunkLength(model), tokens) + pace.reading(final, tokens);
  return pace.stages(0, after, 1) + verifying(n + 1) - verifying(n);
}

/** The exit whose readouts have saved most lately; null if none pays. Exits with a branch do not run ahead. */
function bestDrafter(model: StagedModel, pace: Pace, options: DraftOptions): number | null {
  const able = [...model.exits.entries()].filter(
    ([, exit]) => exit.spec !== null && branchOf(exit) === null && options.exits(exit.id),
  );
  const worth = able.map(([k, exit]) => ({ k, balance: pace.drafters.balance(exit.id) }));
  const best = worth.reduce<(typeof worth)[number] | null>((a, b) => (a && a.balance >= b.balance ? a : b), null);
  return best && best.balance >= 0 ? best.k : null;
}

const confidenceBin = (confidence: number): number => Math.min(9, Math.floor(confidence * 10));
