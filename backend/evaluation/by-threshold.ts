/** Estimates the saving and the cost of each threshold from the exits' predictions for held-out text; nothing is decoded. */
import type { SweepRow } from '../../protocol/events.ts';
import { sweepThresholds } from '../../protocol/options/tasks.ts';
import { leaves, type Policy } from '../decoding/leaving/policy.ts';
import type { ExitRecord } from './scores.ts';

/**
 * Each token leaves at the first exit whose confidence reaches the threshold, else at the final exit. `records` are in the order of the
 * stream, with the final exit last; agreement is with its tokens.
 */
export function sweep(records: readonly ExitRecord[], thresholds = sweepThresholds): SweepRow[] {
  const final = records.at(-1)!;
  const exits = records.slice(0, -1);
  const tokens = final.token.length;
  return thresholds.map((threshold) => {
    const policy: Policy = { kind: 'confidence', threshold: () => threshold };
    let layers = 0;
    let agreed = 0;
    for (let i = 0; i < tokens; i++) {
      const exit = exits.find((record) => leaves(policy, record.exit, readoutAt(record, i), [])) ?? final;
      layers += exit.layer;
      if (exit.token[i] === final.token[i]) agreed++;
    }
    const meanLayer = layers / tokens;
    return { threshold, meanLayer, layerShare: meanLayer / final.layer, agreement: agreed / tokens };
  });
}

const readoutAt = (record: ExitRecord, i: number): Parameters<typeof leaves>[2] => ({
  token: record.deferred[i] ? -1 : record.token[i]!,
  confidence: record.confidence[i]!,
  margin: 0,
  entropy: 0,
  candidates: [],
});
