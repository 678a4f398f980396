/** Regret: what a token that was written in another mode loses under the full model, in nats. */
import { mostRegret } from '../../protocol/options-promise.ts';
import { mostSingle } from '../runtime/tiles.ts';
import { trunkLength, type Readout, type StagedModel } from '../runtime/staged-model.ts';
import { openKvCache, type KvCache } from './kv-cache.ts';

/** The regret of each token of `text` after `prompt`, by the full model's scores in one exact pass. */
export async function regretsOf(
  model: StagedModel,
  prompt: readonly number[],
  text: readonly number[],
): Promise<number[]> {
  if (text.length === 0) return [];
  const cache = openKvCache(model, 1);
  try {
    cache.enter(0, prompt);
    // The last token is judged by the tokens before it.
    // So few at once that they have the bits of single tokens: the model's own text is judged by the numbers that chose its tokens.
    for (let at = 0; at < text.length - 1; at += mostSingle)
      cache.enter(0, text.slice(at, Math.min(at + mostSingle, text.length - 1)));
    await cache.advance(trunkLength(model), [0]);
    const [said] = await cache.read(model.exits.length - 1, [0], [text.length], { logits: false });
    return await regretsAt(model, cache, 0, said!.readouts, text);
  } finally {
    cache.dispose();
  }
}

/**
 * The regrets that `tokens` would have at the last places of a row, one token a place, whose readouts of the final exit are given. Rows of
 * logits are read only if a token is none of the candidates of its place.
 */
export async function regretsAt(
  { exits, spec: { vocabulary } }: StagedModel,
  cache: KvCache,
  row: number,
  readouts: readonly Readout[],
  tokens: readonly number[],
): Promise<number[]> {
  const known = readouts.map((readout, i) => regretOf(readout, tokens[i]!));
  const from = known.indexOf(null);
  const [scored] = from < 0 ? [] : await cache.read(exits.length - 1, [row], [known.length - from], { logits: true });
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
