/** In which order a run takes its windows: every epoch in an order of its own, fixed by the seed and by nothing else. */
import { windowOrder } from '../data/texts/window-order.ts';

/**
 * Windows at places `from` to `from + count` of the endless sequence of epochs; a batch may cross into the next epoch. If `pool` is less
 * than `windows`, an epoch has that many: the first of the first order.
 */
export function windowsAt(seed: number, windows: number, from: number, count: number, pool = windows): number[] {
  const first = windowOrder(windows, seed, 0);
  const orderOf = (epoch: number): ((place: number) => number) => {
    if (epoch === 0) return first;
    const order = windowOrder(pool, seed, epoch);
    return pool < windows ? (place) => first(order(place)) : order;
  };
  const taken: number[] = [];
  let epoch = -1;
  let order = first;
  for (let place = from; place < from + count; place++) {
    const now = Math.floor(place / pool);
    if (now !== epoch) order = orderOf(now);
    epoch = now;
    taken.push(order(place % pool));
  }
  return taken;
}
