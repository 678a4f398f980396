/** Gates in the form in which a checkpoint stores them: weights as base64 of float32. */
import type { Calibration, StoredGate } from './calibration.ts';

/** Guesses whether a token would leave at an exit: `weights` `[width]` on the stream there; the exit is read from `least` on. */
export interface GateValues {
  readonly weights: Float32Array;
  readonly bias: number;
  readonly least: number;
}

export const storedGate = ({ weights, bias, least }: GateValues): StoredGate => ({
  weights: Buffer.from(weights.buffer, weights.byteOffset, weights.byteLength).toString('base64'),
  bias,
  least,
});

/** By exit id. */
export function gatesOf({ gates }: Calibration): Map<string, GateValues> {
  const read = ([exit, { weights, bias, least }]: [string, StoredGate]): [string, GateValues] => {
    const bytes = Uint8Array.from(Buffer.from(weights, 'base64'));
    return [exit, { weights: new Float32Array(bytes.buffer), bias, least }];
  };
  return new Map(Object.entries(gates).map(read));
}
