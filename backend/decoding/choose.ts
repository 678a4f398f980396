/**
 * Decides the next token of each sequence. The block of a row is its newest token and the drafts after it. Exits are read in the order of
 * the stream, and each place of a block leaves at the first exit that is sure enough. A place is decided only if every draft before it was
 * right.
 */
import type { Allowed } from '../data/prompts/allowed.ts';
import type { Hint } from '../data/hints.ts';
import { firstTokens } from '../exits/memory.ts';
import type { ExitPoint, Readout, RowReadout, StagedModel } from '../runtime/staged-model.ts';
import type { Choice, Draft } from './block.ts';
import { opens } from './leaving/gate.ts';
import { agreementWith, hinted } from './leaving/hints.ts';
import type { KvCache } from './cache/kv-cache.ts';
import type { Pace } from './drafts/pace.ts';
import { drawsFromLogits, lacks, pick } from './sampling/pick.ts';
import { leaves } from './leaving/policy.ts';
import { needsLogits, probabilityOf } from './sampling/sampler.ts';
import type { Sequence } from './sequence.ts';
import { chanceOfHint, isHeadRead, saidByHint } from './leaving/trust.ts';

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
  readonly agreesClearly: boolean;
}

/** A position of a block: that behind the newest token, or behind a draft. */
interface Place {
  /** What its token may be; null: any. Drafts themselves are allowed. */
  readonly allowed: Allowed | null;
  /** Of the text; null: none. */
  readonly hint: Hint | null;
  /** Of the exits that were read, in the order of the stream. */
  readonly predictions: Prediction[];
  readonly checks: Check[];
  /** The prediction with which it leaves, as soon as an exit lets it; it counts only if every draft before it was right. */
  leaving: Prediction | null;
}

/** A row while its block is decided. */
interface Deciding {
  /** Its place in the cache. */
  readonly row: number;
  readonly sequence: Sequence;
  readonly drafts: readonly Draft[];
  readonly places: readonly Place[];
  /** Whether all exits are read at all places, to report them. */
  readonly isReported: boolean;
  /** Of its first places. */
  readonly choices: Omit<Choice, 'opinions'>[];
  isDone: boolean;
}

/** Choices of each row, by its drafts: as many as were right, and one more. */
export async function choose(
  model: StagedModel,
  cache: KvCache,
  pace: Pace,
  sequences: readonly Sequence[],
  drafts: readonly (readonly Draft[])[],
): Promise<Choice[][]> {
  const all = sequences.map((sequence, row) => undecided(sequence, drafts[row]!, row));
  const whole = all.filter(({ isReported }) => isReported).map(({ row }) => row);
  const lastOnly = all.every(({ places }) => places.length === 1);
  for (const [k, exit] of model.exits.entries()) {
    const asking = all.filter((one) => one.isReported || (!one.isDone && isEnabled(one, exit)));
    if (asking.length === 0) continue;
    const rows = asking.map(({ row }) => row);
    await cache.advance(exit.stages, rows, { lastOnly, whole });
    await readExit(cache, k, exit, asking);
    for (const one of asking) await decide(cache, pace, k, one);
    // Filled before any later token goes deeper, so that later tokens see the same entries whatever is decided together.
    const filled = exit.remembers ? asking.flatMap((one) => leftAt(one, exit, cache)) : [];
    if (filled.length > 0) await cache.leave(k, filled);
  }
  return all.map(({ choices, places, isReported }) =>
    choices.map((choice, at) => ({ ...choice, opinions: isReported ? places[at]!.predictions : [] })),
  );
}

function undecided(sequence: Sequence, drafts: readonly Draft[], row: number): Deciding {
  const hints = sequence.hints?.next(drafts.map(({ token }) => token));
  const places = allowedAt(sequence, drafts).map((allowed, at): Place => {
    return { allowed, hint: hints?.[at] ?? null, predictions: [], checks: [], leaving: null };
  });
  return { row, sequence, drafts, places, isReported: sequence.options.candidates > 0, choices: [], isDone: false };
}

/** What the token at each place of a block may be: the newest one's, then behind each draft. */
function allowedAt({ allowed }: Sequence, drafts: readonly Draft[]): (Allowed | null)[] {
  const places = [allowed];
  for (const { token } of drafts) places.push(places.at(-1)?.after(token) ?? null);
  return places;
}

/** Whether tokens of some of these places may leave at an exit. */
const isEnabled = (one: Deciding, exit: ExitPoint): boolean =>
  one.places.some((_, at) => isAskedAt(one, exit, at) || mayTakeHint(one, exit, at));

/** Whether the token in place `at` may leave at an exit with the text's hint. */
function mayTakeHint({ sequence, places }: Deciding, exit: ExitPoint, at: number): boolean {
  const { options, probation } = sequence;
  const { hint, allowed } = places[at]!;
  if (!hint?.isClear || !options.enabled(exit.id) || !options.trust?.has(exit.id)) return false;
  // Beside a hint nothing else is known to be likely.
  if ((options.alternatives ?? 0) > 1) return false;
  // Whether a text ends is left to the full model, as in `leavingAt`.
  if (drawsFromLogits(sequence) || options.endOfText.includes(hint.token)) return false;
  if (allowed !== null && !allowed.allows(hint.token)) return false;
  return probation?.standing(exit, indexOf(sequence, at), true) !== 'off';
}

/** Whether an exit's head may be read for the token in place `at`. */
function isAskedAt({ sequence, places }: Deciding, exit: ExitPoint, at: number): boolean {
  const { options, probation } = sequence;
  if (exit.spec === null) return true;
  if (!isHeadRead(options, exit.id)) return false;
  if (probation === null) return true;
  const index = indexOf(sequence, at);
  if (probation.standing(exit, index, false) !== 'off') return true;
  const mayAgree = options.hints?.has(exit.id) && places[at]!.hint?.isClear;
  return mayAgree === true && probation.standing(exit, index, true) !== 'off';
}

/**
 * Takes hints at exit k, and reads it at the places of these rows that are not decided yet and whose gates are open; at all places of
 * reported rows.
 */
async function readExit(cache: KvCache, k: number, exit: ExitPoint, asking: readonly Deciding[]): Promise<void> {
  const open = new Map(asking.map((one) => [one, openPlaces(cache, k, exit, one)]));
  const read = asking.filter((one) => one.isReported || open.get(one)!.includes(true));
  // Places that are decided need not be read again.
  const from = ({ isReported, choices }: Deciding): number => (isReported ? 0 : choices.length);
  for (const [one, { readouts, logits }] of await readEach(cache, k, read, from))
    for (const [n, readout] of readouts.entries()) {
      const at = from(one) + n;
      const place = one.places[at]!;
      const own = logits && rowOf(logits, n, readouts.length);
      place.predictions.push({ exit, readout, logits: own, mayLeave: open.get(one)![at]! });
      place.leaving ??= leavingAt(one.sequence, at, place);
    }
}

/**
 * Whether each place may leave at exit k by its head: it is not decided yet, neither before nor by its hint, and no gate keeps the exit from
 * being read there.
 */
function openPlaces(cache: KvCache, k: number, exit: ExitPoint, one: Deciding): boolean[] {
  const { row, places, choices } = one;
  const gate = one.sequence.options.gates.get(exit.id);
  return places.map((place, at) => {
    if (at < choices.length || place.leaving !== null) return false;
    const state = (): Float32Array => cache.state(k, row, cache.position(row) - places.length + at);
    if (mayTakeHint(one, exit, at) && takesHint(one.sequence, exit, at, place, state())) return false;
    return isAskedAt(one, exit, at) && (gate === undefined || opens(gate, state()));
  });
}

/**
 * Whether the stream at an exit trusts the hint of a place enough. The place then leaves with it, or, where the full model checks it, is not
 * left before the last layer.
 */
function takesHint(sequence: Sequence, exit: ExitPoint, at: number, place: Place, state: Float32Array): boolean {
  const [trust, hint] = [sequence.options.trust!.get(exit.id)!, place.hint!];
  const chance = chanceOfHint(trust, state, hint);
  if (chance < trust.least) return false;
  const { token } = hint;
  const standing = sequence.probation?.standing(exit, indexOf(sequence, at), true) ?? 'decides';
  if (standing === 'decides' && place.checks.length === 0)
    place.leaving = { exit, readout: saidByHint(hint, chance), logits: null, mayLeave: true };
  else place.checks.push({ exit: exit.id, token, confidence: chance, agreesClearly: true });
  return true;
}

/** Decides the places of a row that leave, until one does not or a draft was wrong. */
async function decide(cache: KvCache, pace: Pace, k: number, one: Deciding): Promise<void> {
  const { row, sequence, drafts, places, choices } = one;
  while (!one.isDone) {
    const at = choices.length;
    const { leaving, allowed, checks } = places[at]!;
    if (!leaving) return;
    const isLacking = leaving.logits === null && lacks(leaving.readout, allowed);
    const logits = isLacking ? await logitsAt(cache, k, row, places.length - at) : leaving.logits;
    const { token, readout } = pick(leaving.readout, logits, sequence, allowed);
    const draft = drafts[at] ?? null;
    const probability = probabilityOf(token, readout, logits);
    choices.push({ token, exit: leaving.exit, readout, probability, draft });
    // A token that is drawn, or chosen by changed logits, is not always the full model's best.
    const best = needsLogits(sequence.options.sampling) ? leaving.readout.token : token;
    for (const { exit, confidence, agreesClearly, token: said } of checks)
      sequence.probation!.checked(exit, indexOf(sequence, at), { confidence, agreesClearly, isRight: said === best });
    const isRight = draft?.token === token;
    if (draft !== null && draft.kind !== null) {
      pace.judged(draft.kind, isRight);
      if (isRight) pace.drafters.earned(draft.source);
    }
    one.isDone = !isRight;
  }
}

/** The positions of a row that left at this exit and whose later layers its memory fills. */
function leftAt(
  { row, sequence, places }: Deciding,
  exit: ExitPoint,
  cache: KvCache,
): { row: number; position: number }[] {
  if (!sequence.options.remembers) return [];
  const first = cache.position(row) - places.length;
  return places.flatMap(({ leaving }, at) =>
    leaving?.exit === exit && first + at >= firstTokens ? [{ row, position: first + at }] : [],
  );
}

/** Place in its text of the token in place `at` of a block. */
const indexOf = ({ count, respelled }: Sequence, at: number): number => count + respelled + at;

/**
 * The last exit's prediction if the place leaves there; the exits before it did not let it leave. An exit that is sure but on probation
 * is added to the place's `checks`, and then no exit lets it leave.
 */
function leavingAt(sequence: Sequence, at: number, { predictions, allowed, hint, checks }: Place): Prediction | null {
  const last = predictions.at(-1)!;
  const earlier = predictions.slice(0, -1).flatMap(({ mayLeave, readout }) => (mayLeave ? [readout] : []));
  const { exit, readout, mayLeave } = last;
  const { options, probation } = sequence;
  const weights = options.hints?.get(exit.id);
  const isSure = (): boolean =>
    leaves(options.policy, exit.id, hinted(readout, hint, weights), earlier) &&
    (allowed?.allows(readout.token) ?? true);
  if (!mayLeave) return null;
  if (exit.spec === null) return last;
  if (!isSure()) return null;
  const agreesClearly = weights !== undefined && agreementWith(hint, readout.token) === 'agreesClearly';
  const standing = probation?.standing(exit, indexOf(sequence, at), agreesClearly) ?? 'decides';
  // A text that ends too early loses more than a token, and asking the full model whether it ends costs one pass.
  const endsText = probation !== null && options.endOfText.includes(readout.token);
  if (standing === 'decides' && checks.length === 0 && !endsText) return last;
  if (standing !== 'off') {
    const { token, confidence } = readout;
    checks.push({ exit: exit.id, token, confidence, agreesClearly });
  }
  return null;
}

/**
 * Reads exit k from a place of each row on, with rows of logits for sequences that sample from them. The others are read separately, as
 * they would be alone: without logits the head may be screened.
 */
async function readEach(
  cache: KvCache,
  k: number,
  read: readonly Deciding[],
  from: (one: Deciding) => number,
): Promise<Map<Deciding, RowReadout>> {
  const results = new Map<Deciding, RowReadout>();
  for (const logits of [false, true]) {
    const chosen = read.filter(({ sequence }) => drawsFromLogits(sequence) === logits);
    if (chosen.length === 0) continue;
    const lengths = chosen.map((one) => one.places.length - from(one));
    const rows = chosen.map(({ row }) => row);
    for (const [i, readout] of (await cache.read(k, rows, lengths, { logits })).entries())
      results.set(chosen[i]!, readout);
  }
  return results;
}

/** The row of logits `[vocabulary]` of a token, counted from the end. */
async function logitsAt(cache: KvCache, k: number, row: number, back: number): Promise<Float32Array> {
  const [result] = await cache.read(k, [row], [back], { logits: true });
  const { logits, readouts } = result!;
  return rowOf(logits!, 0, readouts.length);
}

/** Row n of `count` rows. */
function rowOf(logits: Float32Array, n: number, count: number): Float32Array {
  const width = logits.length / count;
  return logits.subarray(n * width, (n + 1) * width);
}
