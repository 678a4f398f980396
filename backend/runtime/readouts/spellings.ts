/**
 * The other spellings of an exit's guess. A shortlist may have ` mid` and lack `[mid`; the exit is then sure of ` mid` where the model says
 * `[mid`. So it also reads the tokens that spell its guess otherwise and that its list lacks, by the model's own rows. A handful for
 * each position, which are known only once the exit has its guess: no graph, but a few products of a row and a state.
 */
import type { Parameters } from '../../model/parameters.ts';
import type { ModelSpec } from '../../model/spec.ts';
import type { Scored } from './readouts.ts';
import { modelHead } from './rough-head.ts';

/** Rows of the head that are kept. */
const keptRows = 2048;

export interface SpellingReader {
  /** The spellings of `guess` that the list lacks, those of `known` left out, with their logits by an exit's state `[hidden]`. */
  read(guess: number, state: Float32Array, known: readonly number[]): Scored[];
}

/** `spellings`: see `ExitSet`; `list`: the exit's shortlist. */
export function openSpellings(
  { parameters, spec }: { readonly parameters: Parameters; readonly spec: ModelSpec },
  spellings: (token: number) => readonly number[],
  list: ReadonlySet<number>,
): SpellingReader {
  const others = new Map<number, readonly number[]>();
  const rows = new Map<number, Float32Array>();
  const bias = `${modelHead}.bias`;
  const biases = parameters.has(bias) ? parameters.values(bias) : null;
  const othersOf = (guess: number): readonly number[] => {
    const known = others.get(guess) ?? spellings(guess).filter((id) => id < spec.vocabulary && !list.has(id));
    others.set(guess, known);
    return known;
  };
  const rowOf = (id: number): Float32Array => {
    const known = rows.get(id);
    if (known) return known;
    if (rows.size >= keptRows) rows.clear();
    const row = parameters.rows(`${modelHead}.weight`, [id]);
    rows.set(id, row);
    return row;
  };
  const capped = (logit: number): number =>
    spec.finalSoftcap === null ? logit : spec.finalSoftcap * Math.tanh(logit / spec.finalSoftcap);
  return {
    read: (guess, state, known) =>
      othersOf(guess)
        .filter((id) => !known.includes(id))
        .map((id) => ({ id, score: capped(dot(rowOf(id), state)) + (biases?.[id] ?? 0) })),
  };
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
