/** The full model's scores, in one exact pass, of a text that was written in another mode. */
import { mostRegret } from '../../protocol/options-promise.ts';
import { mostSingle } from '../runtime/tiles.ts';
import { trunkLength, type Readout, type StagedModel } from '../runtime/staged-model.ts';
import { openKvCache } from './kv-cache.ts';

/**
 * For each token of `text` after `prompt`: log p(best) − log p(token), both of the final exit, clipped; 0 if the token is the final exit's
 * own choice.
 */
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
    const [result] = await cache.read(model.exits.length - 1, [0], [text.length], { logits: false });
    return result!.readouts.map((readout, i) => regretOf(readout, text[i]!));
  } finally {
    cache.dispose();
  }
}

/** Nats that a token loses under this readout of the final exit, clipped. */
export function regretOf({ candidates }: Readout, token: number): number {
  const own = candidates.find(({ id }) => id === token);
  return own ? Math.min(mostRegret, Math.log(candidates[0]!.probability / own.probability)) : mostRegret;
}
