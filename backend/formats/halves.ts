/** Numbers within bytes: halves (16-bit floats) and words, little-endian as files are. */

/** Fills `out` with the values of whole blocks. */
export type Decoder = (bytes: Uint8Array, out: Float32Array) => void;

/** The value of each 16-bit float pattern. */
export const halfValues: Float32Array = makeHalfValues();

export const halfAt = (b: Uint8Array, p: number): number => halfValues[pairAt(b, p)]!;
export const pairAt = (b: Uint8Array, p: number): number => b[p]! | (b[p + 1]! << 8);
export const wordAt = (b: Uint8Array, p: number): number => pairAt(b, p) | (pairAt(b, p + 2) << 16);

function makeHalfValues(): Float32Array {
  const values = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    values[bits] =
      exponent === 31
        ? fraction === 0
          ? sign * Infinity
          : NaN
        : exponent === 0
          ? sign * fraction * 2 ** -24
          : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return values;
}
