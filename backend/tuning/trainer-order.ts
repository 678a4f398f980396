/** In which order a run takes its windows: a permutation an epoch, fixed by the seed and by nothing else. */

/** Windows at places `from` to `from + count` of the endless sequence of epochs; a batch may cross into the next epoch. */
export function windowsAt(seed: number, windows: number, from: number, count: number): number[] {
  const taken: number[] = [];
  let order: Uint32Array | null = null;
  let orderOf = -1;
  for (let place = from; place < from + count; place++) {
    const epoch = Math.floor(place / windows);
    if (epoch !== orderOf || order === null) {
      order = permutation(seed, epoch, windows);
      orderOf = epoch;
    }
    taken.push(order[place % windows]!);
  }
  return taken;
}

/** Fisher–Yates over mulberry32. */
function permutation(seed: number, epoch: number, size: number): Uint32Array {
  const random = mulberry32((Math.imul(seed, 0x9e3779b1) ^ Math.imul(epoch + 1, 0x85ebca6b)) >>> 0);
  const order = Uint32Array.from({ length: size }, (_, i) => i);
  for (let i = size - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    const kept = order[i]!;
    order[i] = order[j]!;
    order[j] = kept;
  }
  return order;
}

function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
