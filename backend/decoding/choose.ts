/**
 * Decides the next token of each sequence. The block of a row is its newest token and the drafts after it. Exits are read in the order of
 * the stream, and each position leaves at the first exit that is sure enough. A position is decided only if every draft before it was
 * right.
 */
import { inMask, type Allowed } from '../data/allowed.ts';
import { mostCandidates } from '../../protocol/options-decoding.ts';
import type { ExitPoint, Readout, RowReadout, StagedModel } from '../runtime/staged-model.ts';
import type { Block, Choice } from './block.ts';
import { opens } from './gate.ts';
import type { KvCache } from './kv-cache.ts';
import { firstTokens } from '../exits/memory.ts';
import type { Pace } from './pace.ts';
import { leaves } from './policy.ts';
import { best, logProbabilities, needsLogits, probabilityOf, sample } from './sampler.ts';
import type { Sequence } from './sequence.ts';

/** What an exit predicts for one position, and whether the position may leave there. */
interface Prediction {
  readonly exit: ExitPoint;
  readonly readout: Readout;
  /** `[vocabulary]`, if sampling needs it. */
  readonly logits: Float32Array | null;
  readonly mayLeave: boolean;
}

/** An exit that was sure of a token that the full model decides, to see whether they agree. */
interface Check {
  readonly exit: string;
  readonly token: number;
  readonly confidence: number;
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
  const predictions = lengths.map((length) => Array.from({ length }, (): Prediction[] => []));
  // The prediction with which each position leaves, as soon as an exit lets it. Whether it counts depends on the drafts before it.
  const left = lengths.map((length) => Array.from({ length }, (): Prediction | null => null));
  const checks = lengths.map((length) => Array.from({ length }, (): Check[] => []));
  // The allowed tokens at each position; the drafts themselves are allowed.
  const allowed = sequences.map((sequence, row) => placesOf(sequence, blocks[row]!));
  const whole = [...blocks.keys()].filter((row) => wantsOpinions[row]!);

  for (const [k, exit] of model.exits.entries()) {
    const isFinal = exit.spec === null;
    const isEnabled = sequences.map(
      (sequence) =>
        isFinal ||
        (sequence.options.enabled(exit.id) && sequence.probation?.standing(exit, indexOf(sequence, 0)) !== 'off'),
    );
    const needed = [...blocks.keys()].filter((row) => wantsOpinions[row]! || (!isDone[row]! && isEnabled[row]!));
    if (needed.length === 0) continue;
    const lastOnly = lengths.every((length) => length === 1);
    await cache.advance(exit.stages, needed, { lastOnly, whole });
    /** Of each position that is not decided yet, whether its gate is open. */
    const isOpen = blocks.map((_, row) => {
      const gate = options[row]!.gates.get(exit.id);
      return Array.from({ length: needed.includes(row) ? lengths[row]! : 0 }, (_, at) => {
        const isWaiting = isEnabled[row]! && at >= choices[row]!.length;
        return isWaiting && (gate === undefined || opens(gate, cache.state(k, row, lengths[row]! - 1 - at)));
      });
    });
    const read = needed.filter((row) => wantsOpinions[row]! || isOpen[row]!.includes(true));
    // Positions that are decided need not be read again.
    const from = read.map((row) => (wantsOpinions[row]! ? 0 : choices[row]!.length));
    const counts = read.map((row, i) => lengths[row]! - from[i]!);
    const results = await readEach(cache, k, read, counts, (row) => drawsFromLogits(sequences[row]!));
    for (const [i, row] of read.entries()) {
      const { readouts, logits: rows } = results[i]!;
      for (const [n, readout] of readouts.entries()) {
        const at = from[i]! + n;
        const own = rows && rows.subarray(n * model.spec.vocabulary, (n + 1) * model.spec.vocabulary);
        predictions[row]![at]!.push({ exit, readout, logits: own, mayLeave: isOpen[row]![at]! });
        left[row]![at] ??= leavingAt(
          sequences[row]!,
          at,
          predictions[row]![at]!,
          allowed[row]![at]!,
          checks[row]![at]!,
        );
      }
      while (!isDone[row]) {
        const at = choices[row]!.length;
        const leaving = left[row]![at];
        if (!leaving) break;
        const { exit: leftAt } = leaving;
        const may = allowed[row]![at]!;
        const logits =
          leaving.logits ?? (lacks(leaving, may) ? await logitsAt(cache, k, row, lengths[row]! - at) : null);
        const { token, readout } = pick(leaving.readout, logits, sequences[row]!, may);
        const draft = blocks[row]!.drafts[at] ?? null;
        const probability = probabilityOf(token, readout, logits);
        choices[row]!.push({ token, exit: leftAt, readout, probability, draft });
        // A token that is drawn is not always the full model's best.
        const best = options[row]!.sampling.temperature > 0 ? leaving.readout.token : token;
        for (const check of checks[row]![at]!) {
          const index = indexOf(sequences[row]!, at);
          const { exit, confidence } = check;
          sequences[row]!.probation!.checked(exit, index, { confidence, isRight: check.token === best });
        }
        if (draft !== null && draft.kind !== null) {
          pace.judged(draft.kind, draft.token === token);
          if (draft.token === token) pace.drafters.earned(draft.source);
        }
        isDone[row] = draft === null || draft.token !== token;
      }
    }
    if (exit.remembers) {
      // Filled before any later token goes deeper, so that later tokens see the same entries whatever is decided together.
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
    row.map((choice, at) => ({ ...choice, opinions: wantsOpinions[r]! ? predictions[r]![at]! : [] })),
  );
}

/** Place in its text of the token in place `at` of a block. */
const indexOf = ({ count, respelled }: Sequence, at: number): number => count + respelled + at;

/**
 * The last exit's prediction if the position leaves there; the exits before it did not let it leave. An exit that is sure but on probation
 * is added to the position's `checks`, and then no exit lets it leave.
 */
function leavingAt(
  sequence: Sequence,
  at: number,
  predictions: readonly Prediction[],
  may: Allowed | null,
  checks: Check[],
): Prediction | null {
  const last = predictions.at(-1)!;
  const earlier = predictions.slice(0, -1).flatMap(({ mayLeave, readout }) => (mayLeave ? [readout] : []));
  const { exit, readout, mayLeave } = last;
  const isSure = (): boolean =>
    leaves(sequence.options.policy, exit.id, readout, earlier) && (may?.allows(readout.token) ?? true);
  if (!mayLeave) return null;
  if (exit.spec === null) return last;
  if (!isSure()) return null;
  const standing = sequence.probation?.standing(exit, indexOf(sequence, at)) ?? 'decides';
  // A text that ends too early loses more than a token, and asking the full model whether it ends costs one pass.
  const endsText = sequence.probation !== null && sequence.options.endOfText.includes(readout.token);
  if (standing === 'decides' && checks.length === 0 && !endsText) return last;
  if (standing !== 'off') checks.push({ exit: exit.id, token: readout.token, confidence: readout.confidence });
  return null;
}

/**
 * Reads exit k, with rows of logits for sequences that sample from them. The others are read separately, as they would be alone: without
 * logits the head may be screened.
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

/** What the token in each place of a block may be: the newest one's, then behind each draft. */
function placesOf({ allowed }: Sequence, { drafts }: Block): (Allowed | null)[] {
  const places = [allowed];
  for (const { token } of drafts) places.push(places.at(-1)?.after(token) ?? null);
  return places;
}

/** Whether tokens are chosen or reported from rows of logits, not as the exit's best. */
const drawsFromLogits = ({ options, allowed }: Sequence): boolean => {
  const { sampling, alternatives = 0 } = options;
  return needsLogits(sampling) || alternatives > (allowed ? 1 : mostCandidates);
};

/** Whether none of the most probable tokens is allowed, so that all others must be considered. */
const lacks = ({ readout }: Prediction, may: Allowed | null): boolean =>
  may !== null && !readout.candidates.some(({ id }) => may.allows(id));

/** The row of logits of a token, counted from the end. */
async function logitsAt(cache: KvCache, k: number, row: number, back: number): Promise<Float32Array> {
  const [result] = await cache.read(k, [row], [back], { logits: true });
  const { logits, readouts } = result!;
  return logits!.subarray(0, logits!.length / readouts.length);
}

/** The chosen token and its exit's prediction; only allowed tokens count, if not all are. */
function pick(
  readout: Readout,
  logits: Float32Array | null,
  { options, seen, random }: Sequence,
  may: Allowed | null,
): { token: number; readout: Readout } {
  const bound = logits && may ? onlyAllowed(logits, may) : null;
  const row = bound ?? logits;
  const able = may === null ? readout.candidates : readout.candidates.filter(({ id }) => may.allows(id));
  const offered = able.length > 0 ? able : readout.candidates;
  const token = row ? sample(row, options.sampling, seen, random) : offered[0]!.id;
  seen.all.add(token);
  seen.written.set(token, (seen.written.get(token) ?? 0) + 1);
  const { alternatives = 0 } = options;
  if (logits === null) return { token, readout: { ...readout, candidates: offered } };
  if (bound === null && alternatives <= readout.candidates.length) return { token, readout };
  const likely = best(row!, Math.max(alternatives, mostCandidates));
  const probabilities = logProbabilities(logits, likely);
  const candidates = likely.map((id, i) => ({ id, probability: Math.exp(probabilities[i]!) }));
  return { token, readout: { ...readout, candidates } };
}

/** A row of logits in which no other token can be; null if none of those can that may. */
function onlyAllowed(logits: Float32Array, may: Allowed): Float32Array | null {
  const mask = may.mask();
  if (mask === null) return null;
  const row = new Float32Array(logits.length).fill(-Infinity);
  let isAble = false;
  for (let id = 0; id < row.length; id++) {
    if (mask[id >>> 5] === 0) id |= 31;
    else if (inMask(mask, id) && logits[id]! > -Infinity) {
      row[id] = logits[id]!;
      isAble = true;
    }
  }
  return isAble ? row : null;
}
