/** Reliability of an exit's confidences: tokens in bins of like confidence, with the share on which the exit agrees with the final one. Pure. */
import type { ReliabilityBin } from '../../protocol/events.ts';

const binCount = 10;

/** Of an exit, token by token; see `ExitRecord`. */
interface Predictions {
  readonly confidence: Float32Array;
  readonly token: Int32Array;
  readonly deferred: Uint8Array;
}

/** The bins of equal width that hold a token, from the lowest. Tokens that the exit deferred are left out: none of them leaves there. */
export function reliabilityOf(record: Predictions, final: Pick<Predictions, 'token'>): ReliabilityBin[] {
  const sums = Array.from({ length: binCount }, () => ({ tokens: 0, confidence: 0, agreed: 0 }));
  for (const [i, confidence] of record.confidence.entries()) {
    if (record.deferred[i]) continue;
    const bin = sums[Math.min(binCount - 1, Math.floor(confidence * binCount))]!;
    bin.tokens++;
    bin.confidence += confidence;
    if (record.token[i] === final.token[i]) bin.agreed++;
  }
  return sums
    .filter(({ tokens }) => tokens > 0)
    .map(({ tokens, confidence, agreed }) => ({
      tokens,
      confidence: confidence / tokens,
      agreement: agreed / tokens,
    }));
}

/** Mean distance of confidence and agreement over tokens: the expected calibration error (Guo et al., arXiv 1706.04599, equation 3). */
export function calibrationError(bins: readonly ReliabilityBin[]): number {
  const tokens = bins.reduce((sum, bin) => sum + bin.tokens, 0);
  const distance = bins.reduce((sum, bin) => sum + bin.tokens * Math.abs(bin.confidence - bin.agreement), 0);
  return tokens === 0 ? 0 : distance / tokens;
}
