/**
 * Decides what each sequence says next. A block of a row is its newest token and the drafts behind it; the exits are asked
 * in the order of the stream, and each position leaves at the first that is sure enough. A position is only worth
 * deciding while every draft before it was right.
 */
import { mostCandidates } from '../../protocol/options-decoding.ts';
import type { ExitPoint, Readout, RowReadout, StagedModel } from '../runtime/staged-model.ts';
import { textSource, type Block, type Choice } from './block.ts';
import { opens } from './gate.ts';
import type { KvCache } from './kv-cache.ts';
import { firstTokens } from '../exits/memory.ts';
import type { Pace } from './pace.ts';
import { leaves } from './policy.ts';
import { best, logProbabilities, needsLogits, probabilityOf, sample } from './sampler.ts';
import { mayFollow, type Sequence } from './sequence.ts';

/** What an exit said of one position, and whether the position may leave there. */
interface Said {
  readonly exit: ExitPoint;
  readonly readout: Readout;
  /** `[vocabulary]`, where sampling asks for it. */
  readonly logits: Float32Array | null;
  readonly mayLeave: boolean;
}

/** Choices of each row: as many as were right drafts, and one more. */
export async function choose(
  model: StagedModel,
  cache: KvCache,
  pace: Pace,
  sequences: readonly Sequence[],
  blocks: readonly Block[],
): Promise<Choice[][]> {
  const options = sequences.map((sequence) => sequence.options);
  const wantsOpinions = options.map(({ candidates }) => candidates > 0);
  const lengths = blocks.map(({ drafts }) => drafts.length + 1);
  const choices: Omit<Choice, 'opinions'>[][] = blocks.map(() => []);
  const isDone = blocks.map(() => false);
  const said = lengths.map((length) => Array.from({ length }, (): Said[] => []));
  // Where each position leaves, as soon as an exit lets it go: whether it is ever decided turns on the drafts before it.
  const left = lengths.map((length) => Array.from({ length }, (): Said | null => null));
  const whole = [...blocks.keys()].filter((row) => wantsOpinions[row]!);

  for (const [k, exit] of model.exits.entries()) {
    const isFinal = exit.spec === null;
    const isEnabled = options.map(({ enabled }) => isFinal || enabled(exit.id));
    const asked = [...blocks.keys()].filter((row) => wantsOpinions[row]! || (!isDone[row]! && isEnabled[row]!));
    if (asked.length === 0) continue;
    const lastOnly = lengths.every((length) => length === 1);
    await cache.advance(exit.stages, asked, { lastOnly, whole });
    /** Of each position that is not decided yet, whether its gate is open. */
    const isOpen = blocks.map((_, row) => {
      const gate = options[row]!.gates.get(exit.id);
      return Array.from({ length: asked.includes(row) ? lengths[row]! : 0 }, (_, at) => {
        const isWaiting = isEnabled[row]! && at >= choices[row]!.length;
        return isWaiting && (gate === undefined || opens(gate, cache.state(k, row, lengths[row]! - 1 - at)));
      });
    });
    const read = asked.filter((row) => wantsOpinions[row]! || isOpen[row]!.includes(true));
    // What is decided already need not be heard again.
    const from = read.map((row) => (wantsOpinions[row]! ? 0 : choices[row]!.length));
    const counts = read.map((row, i) => lengths[row]! - from[i]!);
    const results = await readEach(cache, k, read, counts, (row) => drawsFromLogits(sequences[row]!));
    for (const [i, row] of read.entries()) {
      const { readouts, logits: rows } = results[i]!;
      for (const [n, readout] of readouts.entries()) {
        const at = from[i]! + n;
        const own = rows && rows.subarray(n * model.spec.vocabulary, (n + 1) * model.spec.vocabulary);
        said[row]![at]!.push({ exit, readout, logits: own, mayLeave: isOpen[row]![at]! });
        left[row]![at] ??= isLeaving(sequences[row]!, said[row]![at]!);
      }
      while (!isDone[row]) {
        const at = choices[row]!.length;
        const leaving = left[row]![at];
        if (!leaving) break;
        const { exit: leftAt, logits } = leaving;
        const { token, readout } = pick(leaving.readout, logits, sequences[row]!);
        const draft = blocks[row]!.drafts[at] ?? null;
        const probability = probabilityOf(token, readout, logits);
        choices[row]!.push({ token, exit: leftAt, readout, probability, draft });
        if (draft) pace.judged(draft.kind, draft.token === token);
        if (draft?.token === token && draft.source !== textSource) pace.drafters.earned(draft.source);
        isDone[row] = draft === null || draft.token !== token;
      }
    }
    if (exit.remembers) {
      // Before any token behind them goes deeper: what it sees of them is the same then, whatever is decided together.
      const places = read.flatMap((row) => {
        const first = cache.position(row) - lengths[row]!;
        const isFilled = (at: number): boolean => left[row]![at]?.exit === exit && first + at >= firstTokens;
        const own = options[row]!.remembers ? [...left[row]!.keys()].filter(isFilled) : [];
        return own.map((at) => ({ row, position: first + at }));
      });
      if (places.length > 0) await cache.leave(k, places);
    }
  }
  return choices.map((row, r) =>
    row.map((choice, at) => ({ ...choice, opinions: wantsOpinions[r]! ? said[r]![at]! : [] })),
  );
}

/** What the last exit said of a position, where it leaves there. Those before it have let it go on. */
function isLeaving(sequence: Sequence, said: readonly Said[]): Said | null {
  const last = said.at(-1)!;
  const earlier = said.slice(0, -1).flatMap(({ mayLeave, readout }) => (mayLeave ? [readout] : []));
  const { exit, readout, mayLeave } = last;
  const isSure = (): boolean =>
    leaves(sequence.options.policy, exit.id, readout, earlier) && mayFollow(sequence, readout.token);
  return mayLeave && (exit.spec === null || isSure()) ? last : null;
}

/**
 * What exit k says, with rows of logits where a sequence draws from them. The others are read apart, as they would be alone: a head
 * that is read without logits may be screened.
 */
async function readEach(
  cache: KvCache,
  k: number,
  rows: readonly number[],
  counts: readonly number[],
  draws: (row: number) => boolean,
): Promise<RowReadout[]> {
  const results = new Map<number, RowReadout>();
  for (const logits of [false, true]) {
    const chosen = rows.filter((row) => draws(row) === logits);
    if (chosen.length === 0) continue;
    const lengths = chosen.map((row) => counts[rows.indexOf(row)]!);
    const read = await cache.read(k, chosen, lengths, { logits });
    for (const [i, row] of chosen.entries()) results.set(row, read[i]!);
  }
  return rows.map((row) => results.get(row)!);
}

/** Whether a token is taken out of a row of logits, and not as the exit's best. */
const drawsFromLogits = ({ options, begun }: Sequence): boolean =>
  needsLogits(options.sampling) || begun !== null || (options.alternatives ?? 0) > mostCandidates;

/** The token that is taken, and what its exit said; of the tokens that may follow, where not all may. */
function pick(readout: Readout, logits: Float32Array | null, sequence: Sequence): { token: number; readout: Readout } {
  const { options, seen, random, begun } = sequence;
  const able = logits && begun ? begun.tokens.fitting(begun.bytes).filter((id) => logits[id]! > -Infinity) : [];
  const isBound = logits !== null && able.length > 0;
  const row = isBound ? onlyThese(logits, able) : logits;
  const token = row ? sample(row, options.sampling, seen, random) : readout.candidates[0]!.id;
  seen.all.add(token);
  seen.written.set(token, (seen.written.get(token) ?? 0) + 1);
  const { alternatives = 0 } = options;
  if (!isBound && alternatives <= readout.candidates.length) return { token, readout };
  const count = Math.max(alternatives, mostCandidates);
  return {
    token,
    readout: logits ? { ...readout, candidates: candidatesOf(logits, isBound ? able : null, count) } : readout,
  };
}

/** A row of logits in which no other token can be. */
function onlyThese(logits: Float32Array, ids: readonly number[]): Float32Array {
  const row = new Float32Array(logits.length).fill(-Infinity);
  for (const id of ids) row[id] = logits[id]!;
  return row;
}

/** The most probable tokens of a row, or of some of it. */
function candidatesOf(logits: Float32Array, ids: readonly number[] | null, count: number): Readout['candidates'] {
  const likely = ids ? [...ids].sort((a, b) => logits[b]! - logits[a]! || a - b).slice(0, count) : best(logits, count);
  const probabilities = logProbabilities(logits, likely);
  return likely.map((id, i) => ({ id, probability: Math.exp(probabilities[i]!) }));
}
