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

/** The 16-bit float nearest to a number, halves to even, as processors round. */
export function toHalf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  // Steps of a half: 2^(exponent − 10), and 2^−24 below the smallest normal one.
  const exponent = size < 2 ** -14 ? -14 : Math.floor(Math.log2(size));
  const steps = roundEven(size / 2 ** (exponent - 10));
  return sign | (size < 2 ** -14 ? steps : (exponent + 15 - 1) * 1024 + steps);
}

function roundEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
