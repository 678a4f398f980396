/** In which order a run takes its windows: every epoch in an order of its own, fixed by the seed and by nothing else. */
import { windowOrder } from '../data/window-order.ts';

/** Windows at places `from` to `from + count` of the endless sequence of epochs; a batch may cross into the next epoch. */
export function windowsAt(seed: number, windows: number, from: number, count: number): number[] {
  const taken: number[] = [];
  let epoch = -1;
  let order = (place: number): number => place;
  for (let place = from; place < from + count; place++) {
    const now = Math.floor(place / windows);
    if (now !== epoch) order = windowOrder(windows, seed, now);
    epoch = now;
    taken.push(order(place % windows));
  }
  return taken;
}
