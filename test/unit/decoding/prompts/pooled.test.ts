/** Vectors of texts against norms worked out by hand. */
import { expect, test } from 'vitest';
import { newPooling, type FinalNorm } from '../../../../backend/decoding/prompts/pooled.ts';

const rms: FinalNorm = { spec: { kind: 'rms', epsilon: 0, unitOffset: 0 }, gain: Float32Array.of(1, 2), bias: null };
const states = [Float32Array.of(3, 4), Float32Array.of(-1, 1)];
const length = (x: number, y: number): number[] => [x / Math.hypot(x, y), y / Math.hypot(x, y)];
const value = (norm: FinalNorm, kind: 'mean' | 'last', given = states): Float32Array => {
  const pooling = newPooling(norm, null, kind);
  given.forEach((state) => pooling.take(state));
  return pooling.value();
};
const close = (got: Float32Array, expected: number[]): void =>
  expected.forEach((each, i) => expect(got[i]).toBeCloseTo(each, 6));

test('each token is normed, then their mean or the last is taken, of length 1', () => {
  const first = [3 / Math.sqrt(12.5), 8 / Math.sqrt(12.5)];
  close(value(rms, 'last'), length(-1, 2));
  close(value(rms, 'mean'), length(first[0]! - 1, first[1]! + 2));
});

test('gains less 1, LayerNorm with its bias, streams of a cut within a layer, nothing at all', () => {
  close(value({ ...rms, spec: { ...rms.spec, unitOffset: 1 } }, 'last'), length(-2, 3));
  const layer: FinalNorm = { spec: { kind: 'layer', epsilon: 0, unitOffset: 0 }, gain: Float32Array.of(1, 1), bias: Float32Array.of(0, 3) }; // prettier-ignore
  close(value(layer, 'last', [Float32Array.of(5, 7)]), length(-1, 4));
  close(value(rms, 'last', [Float32Array.of(-1, 1, 9, 9)]), length(-1, 2));
  close(value(rms, 'mean', []), [0, 0]);
});
