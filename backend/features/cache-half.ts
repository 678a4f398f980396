/** Half-precision floats for the feature cache. One power-of-two scale an array keeps huge activations in range. */

/** Largest finite half. */
const maximumHalf = 65504;

/**
 * Rounds to the nearest half (ties to even) after multiplying with a power of two ≤ 1 that brings the largest value into
 * range; returns the factor that undoes it. Values must be finite.
 */
export function encodeHalf(values: Float32Array, into: Uint16Array): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i]!);
    if (size > largest) largest = size;
  }
  // `!(… <= …)` also catches NaN, which no comparison orders.
  if (!(largest <= Number.MAX_VALUE)) throw new RangeError('A value is not finite.');
  let undo = 1;
  while (largest / undo > maximumHalf) undo *= 2;
  const bits = new Uint32Array(1);
  const float = new Float32Array(bits.buffer);
  const factor = 1 / undo;
  for (let i = 0; i < values.length; i++) {
    float[0] = values[i]! * factor;
    into[i] = halfBits(bits[0]!);
  }
  return undo;
}

/** Inverse of `encodeHalf`. */
export function decodeHalf(halves: Uint16Array, undo: number, into: Float32Array): void {
  const table = halfTable();
  if (undo === 1) for (let i = 0; i < halves.length; i++) into[i] = table[halves[i]!]!;
  else for (let i = 0; i < halves.length; i++) into[i] = table[halves[i]!]! * undo;
}

function halfBits(x: number): number {
  const sign = (x >>> 16) & 0x8000;
  const magnitude = x & 0x7fffffff;
  // Normal halves: rebias the exponent (127 → 15), round the 13 bits that fall away.
  if (magnitude >= 0x38800000) {
    const rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1);
    return sign | (rounded >>> 13);
  }
  if (magnitude < 0x33000000) return sign;
  const shift = 126 - (magnitude >>> 23);
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const half = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const middle = 1 << (shift - 1);
  return sign | (half + (rest > middle || (rest === middle && (half & 1) === 1) ? 1 : 0));
}

let halfTableMade: Float32Array | null = null;

function halfTable(): Float32Array {
  if (halfTableMade) return halfTableMade;
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >>> 10) & 31;
    const mantissa = bits & 1023;
    const size =
      exponent === 0
        ? mantissa * 2 ** -24
        : exponent === 31
          ? mantissa === 0
            ? Infinity
            : NaN
          : (1 + mantissa / 1024) * 2 ** (exponent - 15);
    table[bits] = bits & 0x8000 ? -size : size;
  }
  return (halfTableMade = table);
}
