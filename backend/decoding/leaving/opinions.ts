/** What every exit predicts at the places of a text. */
import type { Candidate, ExitOpinion } from '../../../protocol/trace.ts';
import type { ExitPoint, Readout, StagedModel } from '../../runtime/staged-model.ts';
import type { KvCache } from '../cache/kv-cache.ts';
import type { TextCodec } from '../text.ts';

/** `shown`: the number of candidates that are told. */
export function opinionOf({ id, layer }: ExitPoint, readout: Readout, shown: number, codec: TextCodec): ExitOpinion {
  const named = (one: { id: number; probability: number }): Candidate => ({ ...one, text: codec.tokenText(one.id) });
  const candidates = readout.candidates.slice(0, shown).map(named);
  const token = readout.token < 0 ? null : candidates[0]!;
  return { exit: id, layer, confidence: readout.confidence, token, candidates };
}

/** Of a row's tokens from `from` up to `to`, which all stages have run: for each, what every exit predicts of the next. */
export async function readOpinions(
  model: StagedModel,
  cache: KvCache,
  row: number,
  { from, to }: { readonly from: number; readonly to: number },
  { candidates, codec }: { readonly candidates: number; readonly codec: TextCodec },
): Promise<ExitOpinion[][]> {
  const opinions = Array.from({ length: to - from }, (): ExitOpinion[] => []);
  for (const [k, exit] of model.exits.entries()) {
    const [read] = await cache.read(k, [row], [to - from], { logits: false, ends: [to] });
    for (const [at, readout] of read!.readouts.entries())
      opinions[at]!.push(opinionOf(exit, readout, candidates, codec));
  }
  return opinions;
}
