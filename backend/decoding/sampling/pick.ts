/** Which token a prediction gives: its best, one drawn from its logits, or the best of those that are allowed. */
import { mostCandidates } from '../../../protocol/options/decoding.ts';
import { inMask, type Allowed } from '../../data/prompts/allowed.ts';
import type { Readout } from '../../runtime/staged-model.ts';
import { best, logProbabilities, needsLogits, sample } from './sampler.ts';
import type { Sequence } from '../sequence.ts';

/** Whether tokens are chosen or reported from rows of logits, not as the exit's best. */
export const drawsFromLogits = ({ options, allowed }: Sequence): boolean => {
  const { sampling, isMeasured = false, alternatives = 0 } = options;
  return isMeasured || needsLogits(sampling) || alternatives > (allowed ? 1 : mostCandidates);
};

/** Whether none of the most probable tokens is allowed, so that all others must be considered. */
export const lacks = (readout: Readout, may: Allowed | null): boolean =>
  may !== null && !readout.candidates.some(({ id }) => may.allows(id));

/** The chosen token and its exit's prediction; only allowed tokens count, if not all are. */
export function pick(
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
