/** Regret: what a token that was written in another mode loses under the full model, in nats. */
import { mostRegret } from '../../../protocol/options/promise.ts';
import type { Readout, StagedModel } from '../../runtime/staged-model.ts';
import type { KvCache } from '../cache/kv-cache.ts';

/**
 * The regrets that `tokens` would have at the places of a row that end before `end`, one token a place, whose readouts of the final exit are
 * given. Rows of logits are read only if a token is none of the candidates of its place.
 */
export async function regretsAt(
  { exits, spec: { vocabulary } }: StagedModel,
  cache: KvCache,
  { row, end }: { readonly row: number; readonly end: number },
  readouts: readonly Readout[],
  tokens: readonly number[],
): Promise<number[]> {
  const known = readouts.map((readout, i) => regretOf(readout, tokens[i]!));
  const from = known.indexOf(null);
  const count = known.length - from;
  const [scored] = from < 0 ? [] : await cache.read(exits.length - 1, [row], [count], { logits: true, ends: [end] });
  const logitsAt = (i: number): Float32Array =>
    scored!.logits!.subarray((i - from) * vocabulary, (i - from + 1) * vocabulary);
  return known.map((regret, i) => regret ?? regretIn(logitsAt(i), readouts[i]!, tokens[i]!));
}

/**
 * log p(best) − log p(token) under this readout of the final exit, clipped at `mostRegret`; 0 if the token is its own choice, null if the
 * token is none of its candidates.
 */
export function regretOf({ candidates }: Readout, token: number): number | null {
  const own = candidates.find(({ id }) => id === token);
  return own ? Math.min(mostRegret, Math.log(candidates[0]!.probability / own.probability)) : null;
}

/** The same of any token, from the final exit's logits `[vocabulary]`. */
export const regretIn = (logits: Float32Array, { candidates }: Readout, token: number): number =>
  Math.min(mostRegret, Math.max(0, logits[candidates[0]!.id]! - logits[token]!));
