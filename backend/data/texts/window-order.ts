/** A shuffle of windows that is computed, not stored: any position of any epoch can be resumed from without memory of the others. */

/**
 * The window at each place of an epoch: a permutation of `0 … count − 1` that depends on seed and epoch alone. A four-round Feistel
 * network over the next power of four, walked until it falls within range (Black and Rogaway 2002).
 */
export function windowOrder(count: number, seed: number, epoch: number): (place: number) => number {
  const bits = Math.max(1, Math.ceil(Math.log2(Math.max(count, 2)) / 2));
  const half = 2 ** bits;
  const keys = [0, 1, 2, 3].map((round) => mix(mix(mix(seed >>> 0) ^ (epoch >>> 0)) ^ round));
  const permute = (value: number): number => {
    let left = Math.floor(value / half);
    let right = value % half;
    for (const key of keys) [left, right] = [right, (left ^ mix(right ^ key)) & (half - 1)];
    return left * half + right;
  };
  return (place) => {
    if (!Number.isInteger(place) || place < 0 || place >= count) throw new RangeError(`no window at place ${place}`);
    let value = permute(place);
    while (value >= count) value = permute(value);
    return value;
  };
}

/** A 32-bit hash (the finaliser of MurmurHash3). */
function mix(value: number): number {
  let h = (value + 0x9e3779b9) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
